//! Commands whose record is not enough to repeat them.

use std::fmt;

use cofferdam_core::Bytes;
use cofferdam_core::event::ProcessExec;

/// Shells, which read their commands from standard input where they get no script.
const SHELLS: &[&[u8]] = &[b"ash", b"bash", b"dash", b"fish", b"ksh", b"sh", b"zsh"];

/// What stands in the place of a secret value (`docs/evidence-format.md`).
const STRUCK: &[u8] = b"[secret:";

/// Why a recorded command cannot be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its arguments may have been rewritten while they were read.
    Unconfirmed,
    /// Its arguments were too long to be kept whole in the event.
    Cut,
    /// A secret value was struck out of its arguments.
    Secret,
    /// It is a shell that read its commands from standard input.
    Input,
}

impl Obstacle {
    /// What stands in the way of repeating a command.
    pub(super) fn of(exec: &ProcessExec) -> Option<Obstacle> {
        let struck = |word: &Bytes| word.0.windows(STRUCK.len()).any(|piece| piece == STRUCK);
        if exec.unconfirmed || exec.argv.is_empty() {
            Some(Obstacle::Unconfirmed)
        } else if exec.arguments.is_some() {
            Some(Obstacle::Cut)
        } else if exec.argv.iter().any(struck) || struck(&exec.cwd) {
            Some(Obstacle::Secret)
        } else if reads_commands(&exec.argv) {
            Some(Obstacle::Input)
        } else {
            None
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Unconfirmed => "its arguments could not be confirmed when it started",
            Obstacle::Cut => "its arguments are too long to be recorded whole",
            Obstacle::Secret => "a secret was struck out of its arguments",
            Obstacle::Input => "it read its commands from standard input, which is not recorded",
        })
    }
}

fn reads_commands(argv: &[Bytes]) -> bool {
    let Some(first) = argv.first() else { return false };
    let base = first.0.rsplit(|b| *b == b'/').next().unwrap_or_default();
    // A login shell's name begins with a hyphen (login(1)).
    let base = base.strip_prefix(b"-").unwrap_or(base);
    SHELLS.contains(&base) && argv[1..].iter().all(|word| word.0.starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(words: &[&str]) -> ProcessExec {
        ProcessExec { argv: words.iter().map(|w| Bytes::from(*w)).collect(), ..ProcessExec::default() }
    }

    #[test]
    fn what_is_not_known_whole_is_not_repeated() {
        assert_eq!(Obstacle::of(&exec(&["sh", "-c", "make test"])), None);
        assert_eq!(Obstacle::of(&exec(&["bash", "run.sh"])), None);
        assert_eq!(Obstacle::of(&exec(&["-bash"])), Some(Obstacle::Input));
        assert_eq!(Obstacle::of(&exec(&["/bin/sh", "-e"])), Some(Obstacle::Input));
        assert_eq!(Obstacle::of(&exec(&["t", "--key=[secret:API_KEY]"])), Some(Obstacle::Secret));
        assert_eq!(Obstacle::of(&exec(&[])), Some(Obstacle::Unconfirmed));
        let unconfirmed = ProcessExec { unconfirmed: true, ..exec(&["make"]) };
        assert_eq!(Obstacle::of(&unconfirmed), Some(Obstacle::Unconfirmed));
    }
}
