//! Command lines of agents: which word names the program, and where what the person asks stands.

use cofferdam_core::Bytes;
use serde::Deserialize;

/// Programs that run the command behind their options and assignments.
const RUNNERS: &[&[u8]] = &[b"bunx", b"env", b"npx", b"uvx"];

/// The word of a command that names its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// As it stands.
    pub text: &'a [u8],
    /// Which word it is.
    pub at: usize,
    /// Whether a package runner stands before it, so that it may be a package.
    pub packaged: bool,
}

/// The word of a command that names its program; `None` where there is none.
pub fn word(argv: &[Bytes]) -> Option<Word<'_>> {
    let mut at = 0;
    let mut packaged = false;
    while RUNNERS.contains(&base(&argv.get(at)?.0)) {
        packaged = true;
        at += 1;
        while argv.get(at).is_some_and(|w| w.0.starts_with(b"-") || w.0.contains(&b'=')) {
            at += 1;
        }
    }
    Some(Word { text: &argv.get(at)?.0, at, packaged })
}

fn base(word: &[u8]) -> &[u8] {
    word.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

impl<'a> Word<'a> {
    /// The program's name, without its directory.
    pub fn base(&self) -> &'a [u8] {
        base(self.text)
    }

    /// Whether it names the program `name`, or one of its packages behind a runner.
    pub fn names<'p>(&self, name: &str, mut packages: impl Iterator<Item = &'p str>) -> bool {
        // npx takes a version behind the name.
        let package = |package: &str| {
            self.text.strip_prefix(package.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"@"))
        };
        self.base() == name.as_bytes() || self.packaged && packages.any(package)
    }
}

/// Where an agent's command line carries what the person asks. An option may also be written `--option=value`; what comes
/// behind `--` is positional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandLine {
    /// Words, one of which must come first, before the prompt; none where none is needed.
    #[serde(default)]
    subcommands: Vec<String>,
    /// First words that may come before the prompt.
    #[serde(default)]
    skip: Vec<String>,
    /// First words that are commands of the agent's own, and no prompt.
    #[serde(default)]
    not: Vec<String>,
    /// Options whose value is the prompt.
    #[serde(default)]
    prompt: Vec<String>,
    /// Which words that are no options are the prompt.
    #[serde(default)]
    positional: Option<Positional>,
    /// Other options that take a value, which is therefore no prompt.
    #[serde(default)]
    values: Vec<String>,
    /// Options that take a value where a word that is no option follows.
    #[serde(default)]
    maybe: Vec<String>,
    /// Options that take values up to the next option.
    #[serde(default)]
    many: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Positional {
    /// The first of them.
    First,
    /// All of them, joined by blanks.
    All,
}

fn names(list: &[String], word: &[u8]) -> bool {
    list.iter().any(|name| name.as_bytes() == word)
}

impl CommandLine {
    /// The prompt among the words behind the agent's name, where they carry one.
    pub fn prompt(&self, words: &[Bytes]) -> Option<Vec<u8>> {
        self.find(words).filter(|text| !text.trim_ascii().is_empty())
    }

    fn find(&self, words: &[Bytes]) -> Option<Vec<u8>> {
        let mut words = words.iter().map(|w| w.0.as_slice()).peekable();
        let mut positional: Vec<&[u8]> = Vec::new();
        let mut options = true;
        let mut wants_subcommand = !self.subcommands.is_empty();
        let mut first = true;
        while let Some(word) = words.next() {
            if !options || !word.starts_with(b"-") || word == b"-" {
                let was_first = std::mem::take(&mut first) && options;
                if std::mem::take(&mut wants_subcommand) {
                    if !names(&self.subcommands, word) {
                        return None;
                    }
                } else if was_first && names(&self.not, word) {
                    return None;
                } else if was_first && names(&self.skip, word) {
                    first = true;
                } else if word != b"-" {
                    positional.push(word);
                }
            } else if word == b"--" {
                options = false;
            } else if let Some((_, value)) = split(word).filter(|(name, _)| names(&self.prompt, name)) {
                return Some(value.to_vec());
            } else if names(&self.prompt, word) {
                // Without a value it says only that the prompt stands elsewhere.
                if let Some(value) = words.next_if(|w| !w.starts_with(b"-") || w.contains(&b' ')) {
                    return Some(value.to_vec());
                }
            } else if names(&self.values, word) {
                words.next();
            } else if names(&self.maybe, word) {
                words.next_if(|w| !w.starts_with(b"-"));
            } else if names(&self.many, word) {
                while words.next_if(|w| !w.starts_with(b"-")).is_some() {}
            }
        }
        match self.positional? {
            Positional::First => positional.first().map(|w| w.to_vec()),
            Positional::All if positional.is_empty() => None,
            Positional::All => Some(positional.join(&b' ')),
        }
    }
}

/// `--option=value`.
fn split(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|b| *b == b'=')?;
    word.starts_with(b"--").then(|| (&word[..at], &word[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::shipped;

    fn prompt(line: &[&str]) -> Option<String> {
        let argv: Vec<Bytes> = line.iter().map(|w| Bytes::from(*w)).collect();
        let word = word(&argv)?;
        let profile = shipped().iter().find(|one| one.is(&word))?.profile().unwrap();
        profile.command.prompt(&argv[word.at + 1..]).map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn each_agents_prompt_is_found() {
        for line in [
            &["claude", "-p", "fix it"][..],
            &["/usr/bin/claude", "fix it"],
            &["claude", "--print", "--model", "opus", "fix it", "--verbose"],
            &["claude", "--allowedTools", "Bash(git *)", "Edit", "-p", "fix it"],
            &["claude", "-p", "--output-format=json", "--", "fix it"],
            &["npx", "-y", "@anthropic-ai/claude-code@latest", "-p", "fix it"],
            &["env", "CI=1", "claude", "-p", "fix it"],
            &["claude", "-r", "0b5c", "-p", "fix it"],
            &["codex", "exec", "fix it"],
            &["codex", "-m", "gpt-5", "exec", "--sandbox", "read-only", "fix it"],
            &["codex", "fix it"],
            &["gemini", "-p", "fix it"],
            &["gemini", "--prompt=fix it", "-m", "pro"],
            &["gemini", "-m", "pro", "fix", "it"],
            &["opencode", "run", "-m", "x/y", "fix", "it"],
            &["aider", "--model", "x", "--message", "fix it", "a.py"],
            &["aider", "-m", "fix it"],
        ] {
            assert_eq!(prompt(line).as_deref(), Some("fix it"), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_prompt_is_none() {
        for line in [
            &["claude"][..],
            &["claude", "-p"],
            &["claude", "mcp", "add", "x"],
            &["claude", "--resume"],
            &["claude", "-r", "0b5c"],
            &["codex", "exec", "resume", "--last"],
            &["claude", "-p", "  "],
            &["codex", "exec", "-"],
            &["codex", "login"],
            &["opencode"],
            &["opencode", "serve"],
            &["aider", "a.py"],
            &["aider", "-m"],
            &["cat", "-p", "x"],
            &["echo", "claude", "-p", "x"],
            &["@anthropic-ai/claude-code", "x"],
            &["env"],
            &[],
        ] {
            assert_eq!(prompt(line), None, "{line:?}");
        }
    }
}
