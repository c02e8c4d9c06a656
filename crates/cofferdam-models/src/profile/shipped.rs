//! The profiles that this program comes with.

use cofferdam_core::Bytes;

use super::{Profile, Word, word};

/// A profile as the program holds it: its name is compared before anything is read.
#[derive(Debug)]
pub struct Shipped {
    /// The agent's name.
    pub name: &'static str,
    /// Its packages.
    pub packages: &'static [&'static str],
    json: &'static str,
}

/// `data/agents/`, as build.rs translates it, by name.
const SHIPPED: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/agents.rs"));

/// All of them.
pub fn shipped() -> &'static [Shipped] {
    SHIPPED
}

/// Whether a command is one of these agents.
pub fn is_known(argv: &[Bytes]) -> bool {
    word(argv).is_some_and(|word| SHIPPED.iter().any(|one| one.is(&word)))
}

impl Shipped {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is broken; a test excludes that.
    pub fn profile(&self) -> Result<Profile, serde_json::Error> {
        serde_json::from_str(self.json)
    }

    /// Whether a command's word names it.
    pub fn is(&self, word: &Word<'_>) -> bool {
        word.names(self.name, self.packages.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reads_and_is_known_by_its_name_and_packages() {
        let names: Vec<&str> = shipped().iter().map(|one| one.name).collect();
        assert_eq!(names, ["aider", "claude", "codex", "gemini", "opencode"]);
        for one in shipped() {
            let profile = one.profile().unwrap();
            assert_eq!(profile.name, one.name);
            assert!(!profile.provider.is_empty() && !profile.unattended.is_empty() && !profile.quiet.is_empty());
            for package in one.packages {
                assert!(is_known(&["npx".into(), "-y".into(), format!("{package}@1").as_str().into()]), "{package}");
            }
            for provider in &profile.provider {
                let named = provider.base.iter().all(|base| {
                    let given = [&base.env, &base.option, &base.file].iter().filter(|one| one.is_some()).count();
                    given == 1
                        && base.file.is_some() == base.key.is_some()
                        && base.variable.is_some() == base.header.is_some()
                });
                assert!(named, "{} {}", one.name, provider.name);
                assert!(provider.host.is_some() || !provider.base.is_empty(), "{} {}", one.name, provider.name);
            }
            for file in profile.sandbox.iter().flat_map(|own| own.set.keys().chain(own.drop.keys())) {
                assert!(profile.configuration.iter().any(|own| own.path == *file), "{file}");
            }
        }
    }

    #[test]
    fn an_agent_is_known_with_and_without_prompt() {
        assert!(is_known(&["claude".into()]) && is_known(&["/opt/x/aider".into(), "a".into()]));
        assert!(!is_known(&["claude-not".into()]) && !is_known(&[]));
    }
}
