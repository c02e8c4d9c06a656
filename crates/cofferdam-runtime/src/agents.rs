//! Known agents: where their command lines carry what the person asks.

use cofferdam_core::Bytes;
use serde::Deserialize;

/// `data/prompts.toml`, as build.rs translates it.
const TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/prompts.json"));

/// Programs that run the command behind their options and assignments.
const RUNNERS: &[&[u8]] = &[b"bunx", b"env", b"npx", b"uvx"];

/// The table of known agents. The file says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    agent: Vec<Agent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    name: String,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    subcommands: Vec<String>,
    #[serde(default)]
    skip: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    prompt: Vec<String>,
    positional: Option<Positional>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    maybe: Vec<String>,
    #[serde(default)]
    many: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Positional {
    First,
    All,
}

impl Agents {
    /// Those that are known to this version.
    ///
    /// # Errors
    /// Where the table shipped with the program is broken; a test excludes that.
    pub fn known() -> Result<Agents, serde_json::Error> {
        serde_json::from_str(TABLE)
    }

    /// Whether a command is a known agent, so that what is piped into it is a prompt.
    pub fn knows(&self, argv: &[Bytes]) -> bool {
        self.of(argv).is_some()
    }

    /// The prompt on a command line, where the command is a known agent and its arguments carry one.
    pub fn prompt(&self, argv: &[Bytes]) -> Option<Vec<u8>> {
        let (agent, words) = self.of(argv)?;
        agent.prompt(words).filter(|text| !text.trim_ascii().is_empty())
    }

    /// The agent that a command is, and the arguments behind its name.
    fn of<'a>(&self, argv: &'a [Bytes]) -> Option<(&Agent, &'a [Bytes])> {
        let mut at = 0;
        let mut packaged = false;
        while RUNNERS.contains(&base(argv.get(at)?)) {
            packaged = true;
            at += 1;
            while argv.get(at).is_some_and(|w| w.0.starts_with(b"-") || w.0.contains(&b'=')) {
                at += 1;
            }
        }
        let word = argv.get(at)?;
        let is_it = |agent: &&Agent| {
            // npx takes a version behind the name.
            let package = |p: &String| {
                word.0.strip_prefix(p.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"@"))
            };
            base(word) == agent.name.as_bytes() || packaged && agent.packages.iter().any(package)
        };
        self.agent.iter().find(is_it).map(|agent| (agent, &argv[at + 1..]))
    }
}

fn base(word: &Bytes) -> &[u8] {
    word.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

fn names(list: &[String], word: &[u8]) -> bool {
    list.iter().any(|name| name.as_bytes() == word)
}

impl Agent {
    fn prompt(&self, words: &[Bytes]) -> Option<Vec<u8>> {
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

    fn prompt(line: &[&str]) -> Option<String> {
        let argv: Vec<Bytes> = line.iter().map(|w| Bytes::from(*w)).collect();
        Agents::known().unwrap().prompt(&argv).map(|p| String::from_utf8(p).unwrap())
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

    #[test]
    fn an_agent_is_known_with_and_without_prompt() {
        let agents = Agents::known().unwrap();
        assert!(agents.knows(&["claude".into()]) && agents.knows(&["/opt/x/aider".into(), "a".into()]));
        assert!(!agents.knows(&["claude-not".into()]) && !agents.knows(&[]));
    }
}
