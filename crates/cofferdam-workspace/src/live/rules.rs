//! Which paths are the project's own, by the rules of the moment: what is ignored, generated or git's is not looked at.

use cofferdam_core::leftover::leftover_in;

use super::place::present;
use crate::dotgit::has_dot_git;
use crate::generated::Generated;
use crate::ignored::Ignored;
use crate::layers::Layers;
use crate::walk::STAGING;

/// Most directories of which the rules are remembered.
const MOST_DIRECTORIES: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Rules {
    ignored: Option<Ignored>,
    generated: Generated,
}

impl Rules {
    /// Whether a path counts as changed where it differs, as the classes of a change set have it. Half of a directory
    /// that is being renamed does not: most of them are gone a moment later.
    pub fn show(&mut self, layers: &Layers, path: &[u8], directory: bool) -> bool {
        if has_dot_git(path) || leftover_in(path).is_some() || path.split(|b| *b == b'/').next() == Some(STAGING) {
            return false;
        }
        if self.ignored.as_ref().is_some_and(|ignored| ignored.remembered() > MOST_DIRECTORIES) {
            *self = Rules::default();
        }
        let mut read = |path: &[u8]| present(layers, path);
        let ignored = match &mut self.ignored {
            Some(ignored) => ignored,
            none => {
                none.insert(Ignored::new(None, read(b".git/info/exclude").as_deref(), read(b".gitignore").as_deref()))
            }
        };
        !ignored.is_ignored(path, directory, &mut read) && !self.generated.holds(path, &mut read)
    }

    /// Whether a change of this path changes the rules.
    pub fn is_rule(path: &[u8]) -> bool {
        path == b".git/info/exclude" || path.ends_with(b".gitignore") || path.ends_with(b"CACHEDIR.TAG")
    }
}
