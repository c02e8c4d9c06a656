//! What a command is, read from its arguments: wrappers taken off, shortened, and sorted into kinds.

use cofferdam_core::Bytes;
use cofferdam_core::event::ProcessExec;

use crate::shell;
use crate::text;

/// Most columns kept of a command's text.
const TEXT: usize = 240;
/// Most bytes looked at of all arguments: who starts a command with a megabyte of them wants to be shortened.
const LOOKED_AT: usize = 16 << 10;
/// Most wrappers taken off.
const DEPTH: usize = 8;

const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];

/// Programs that are a command of their own, whatever they start.
const TOOLS: &[&str] = &[
    "make",
    "gmake",
    "ninja",
    "samu",
    "cmake",
    "ctest",
    "meson",
    "bazel",
    "buck2",
    "scons",
    "gradle",
    "gradlew",
    "mvn",
    "cargo",
    "cargo-nextest",
    "rustc",
    "go",
    "gcc",
    "g++",
    "cc",
    "c++",
    "clang",
    "clang++",
    "ld",
    "npm",
    "yarn",
    "pnpm",
    "bun",
    "deno",
    "tsc",
    "jest",
    "vitest",
    "mocha",
    "pip",
    "pip3",
    "uv",
    "poetry",
    "pytest",
    "py.test",
    "tox",
    "nox",
    "just",
    "rake",
    "bundle",
    "dotnet",
    "swift",
    "zig",
    "mix",
    "stack",
    "cabal",
    "configure",
];

/// Programs whose first argument says what they do.
const MANY_IN_ONE: &[&str] = &[
    "git", "cargo", "go", "npm", "yarn", "pnpm", "bun", "deno", "pip", "pip3", "uv", "poetry", "docker", "kubectl",
    "gh", "dotnet", "bazel", "coffer", "apt", "apt-get", "rustup", "just", "make", "mix", "stack", "cabal",
];

/// Coding agents: what they start are commands, whoever started them.
const AGENTS: &[&str] = &[
    "claude",
    "codex",
    "gemini",
    "aider",
    "opencode",
    "goose",
    "cursor-agent",
    "copilot",
    "amp",
    "crush",
    "qwen",
    "droid",
];

/// A command as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its text, safe for a terminal and shortened.
    pub text: String,
    /// Its program, with the word that says what it does: `cargo test`.
    pub name: String,
    /// It only reads.
    pub reads: bool,
    /// Its program is one of those that are a command of their own, whatever they start.
    pub tool: bool,
    /// It runs something else and is nothing of its own: a shell that reads commands, or a wrapper.
    pub transparent: bool,
    /// It is a coding agent.
    pub agent: bool,
    /// Its exit code 1 says "no" rather than "failed".
    pub asks: bool,
}

/// How an execution is shown: a `#!` script without its interpreter, which the kernel put before it (execve(2)).
pub(crate) fn of_exec(exec: &ProcessExec) -> Shown {
    // The interpreter may be `env`, and have an argument.
    const BEFORE: usize = 3;
    let given = exec.given.as_ref();
    let script = exec.argv.iter().take(BEFORE + 1).position(|word| Some(word) == given).unwrap_or(0);
    shown(&exec.argv[script..])
}

/// How some arguments are shown.
pub(crate) fn shown(argv: &[Bytes]) -> Shown {
    let words = bounded(argv);
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let words = match carried(&words) {
        Carried::Script(script) => return of_script(&script),
        Carried::Words(words) => words,
    };
    let Some(program) = words.first() else { return Shown { text: "(no arguments)".into(), ..Shown::default() } };
    let program_name = base_name(program);
    let listed: Vec<String> = words.iter().map(|word| text::quoted(word)).collect();
    let strings: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Shown {
        text: text::fit(&listed.join(" "), TEXT),
        name: name(&strings),
        reads: shell::is_read(&strings),
        tool: is_tool(&strings),
        transparent: is_reading_shell(&program_name, &strings),
        asks: shell::asks(&strings),
        agent: AGENTS.contains(&program_name.as_str()),
    }
}

/// A command without what only carries it.
enum Carried<'w> {
    /// The script of a shell.
    Script(String),
    /// Words.
    Words(&'w [&'w [u8]]),
}

/// Takes off what only carries a command (`env`, `timeout`, a shell's `-c`), so often.
fn carried<'w>(mut words: &'w [&'w [u8]]) -> Carried<'w> {
    for _ in 0..DEPTH {
        match peel(words) {
            Peeled::Words(skip) if skip < words.len() => words = &words[skip..],
            Peeled::Script(at) => return Carried::Script(String::from_utf8_lossy(words[at]).into_owned()),
            _ => break,
        }
    }
    Carried::Words(words)
}

/// The texts by which a command may have been asked for, whole up to a bound: the script of a shell, what it evaluates, and
/// the words as they would be typed.
pub(crate) fn texts(argv: &[Bytes]) -> Vec<String> {
    if let [one] = argv {
        return vec![String::from_utf8_lossy(&one.0).trim().to_owned()];
    }
    let words = bounded(argv);
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let words = match carried(&words) {
        Carried::Script(script) => {
            let script = script.trim().to_owned();
            let inner = shell::evaluated(&script).map(|inner| inner.trim().to_owned());
            return inner.into_iter().chain([script]).collect();
        }
        Carried::Words(words) => words,
    };
    vec![words.iter().map(|word| text::quoted(word)).collect::<Vec<_>>().join(" ")]
}

/// Whether a word is likely a pattern, not a path.
pub(crate) fn is_pattern(word: &str) -> bool {
    word.contains(['\\', '^', '$', '(', ')', '|', '+', '=', ' ']) || word.contains(".*")
}

/// Arguments as they would be typed, nothing taken off, shortened.
pub(crate) fn as_typed(argv: &[Bytes]) -> String {
    let words: Vec<String> = bounded(argv).iter().map(|word| text::quoted(word)).collect();
    text::fit(&words.join(" "), TEXT)
}

/// Whether a program only starts another that is meant (`timeout`, `env`…), judged by its own name.
pub(crate) fn is_wrapper(argv: &[Bytes]) -> bool {
    let words = bounded(argv);
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    matches!(peel(&words), Peeled::Words(_))
}

fn bounded(argv: &[Bytes]) -> Vec<Vec<u8>> {
    let mut left = LOOKED_AT;
    let mut words = Vec::new();
    for word in argv {
        if left == 0 {
            break;
        }
        let cut = word.0.len().min(left);
        words.push(word.0[..cut].to_vec());
        left = left.saturating_sub(cut + 1);
    }
    words
}

enum Peeled {
    /// This many words lead to the inner command.
    Words(usize),
    /// The word at this place is a shell's script.
    Script(usize),
    Nothing,
}

fn peel(words: &[&[u8]]) -> Peeled {
    let Some(first) = words.first() else { return Peeled::Nothing };
    let program = base_name(first);
    let at = |n: usize| words.get(n).map_or(&b""[..], |w| *w);
    let options = |from: usize, with_value: &[&[u8]]| {
        let mut n = from;
        while at(n).first() == Some(&b'-') && at(n).len() > 1 {
            if at(n) == b"--" {
                return n + 1;
            }
            n += if with_value.contains(&at(n)) { 2 } else { 1 };
        }
        n
    };
    match program.as_str() {
        "env" => {
            let mut n = options(1, &[b"-u", b"-C", b"--unset", b"--chdir"]);
            while at(n).contains(&b'=') {
                n += 1;
            }
            Peeled::Words(n)
        }
        "timeout" => Peeled::Words(options(1, &[b"-s", b"-k", b"--signal", b"--kill-after"]) + 1),
        "nice" => Peeled::Words(options(1, &[b"-n"])),
        "ionice" => Peeled::Words(options(1, &[b"-c", b"-n"])),
        "stdbuf" => Peeled::Words(options(1, &[b"-i", b"-o", b"-e"])),
        "nohup" | "setsid" | "time" | "command" | "exec" | "npx" | "bunx" | "unbuffer" => {
            Peeled::Words(options(1, &[]))
        }
        shell if SHELLS.contains(&shell) => {
            // The script is the first word behind the options, where `c` is among those (sh(1)).
            let (mut n, mut script) = (1, false);
            while let [b'-' | b'+', letters @ ..] = at(n) {
                if letters.first() == Some(&b'-') {
                    n += 1;
                    continue;
                }
                script |= letters.contains(&b'c') && at(n)[0] == b'-';
                n += if letters.last() == Some(&b'o') { 2 } else { 1 };
            }
            if script && n < words.len() { Peeled::Script(n) } else { Peeled::Nothing }
        }
        _ => Peeled::Nothing,
    }
}

fn of_script(script: &str) -> Shown {
    let inner = shell::evaluated(script);
    let script = inner.as_deref().unwrap_or(script).trim();
    let parts = shell::simple_commands(script);
    // What is shown as the name is what is likely meant: the last command that is more than a `cd`.
    let meant = parts.commands.iter().rev().find(|words| words.first().is_some_and(|w| w != "cd" && w != "true"));
    let (mut one, only) = (Shown::default(), parts.commands.len() == 1);
    if let Some(words) = meant {
        let peeled = unwrapped(words);
        one.name = name(peeled);
        one.tool = is_tool(peeled);
        one.agent = only && peeled.first().is_some_and(|w| AGENTS.contains(&base_name(w.as_bytes()).as_str()));
        one.asks = parts.commands.last().is_some_and(|last| shell::asks(unwrapped(last)));
    }
    let reads = parts.plain
        && !parts.commands.is_empty()
        && parts.commands.iter().all(|words| shell::is_read(unwrapped(words)));
    Shown {
        text: text::fit(&text::one_line(script.as_bytes()), TEXT),
        reads,
        tool: one.tool && only,
        name: if one.name.is_empty() { "sh".into() } else { one.name },
        transparent: false,
        asks: one.asks,
        agent: one.agent,
    }
}

fn unwrapped(mut words: &[String]) -> &[String] {
    for _ in 0..DEPTH {
        let raw: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        match peel(&raw) {
            Peeled::Words(skip) if skip < words.len() => words = &words[skip..],
            _ => break,
        }
    }
    words
}

/// Whether a shell was given neither script nor file: it reads commands, and what it starts are commands.
fn is_reading_shell(program: &str, words: &[String]) -> bool {
    SHELLS.contains(&program.trim_start_matches('-'))
        && words[1..].iter().all(|w| w.starts_with('-') || w.starts_with('+'))
}

fn is_tool(words: &[String]) -> bool {
    let Some(first) = words.first() else { return false };
    let program = base_name(first.as_bytes());
    let second = words.get(1).map_or("", String::as_str);
    let module = second == "-m" && words.get(2).is_some_and(|m| TOOLS.contains(&m.as_str()) || m == "unittest");
    TOOLS.contains(&program.as_str())
        || (program.starts_with("python") && module)
        || (program == "node" && words.iter().any(|w| w == "--test"))
}

/// The program, with the word that says what it does.
fn name(words: &[String]) -> String {
    let Some(first) = words.first() else { return String::new() };
    let program = base_name(first.as_bytes());
    let mut out = program.clone();
    if MANY_IN_ONE.contains(&program.as_str())
        && let Some(word) = words[1..].iter().find(|w| !w.starts_with('-') && !w.starts_with('+'))
        && word.len() <= 20
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        out.push(' ');
        out.push_str(word);
    }
    if program.starts_with("python") && words.get(1).is_some_and(|w| w == "-m") {
        out.push_str(" -m ");
        out.push_str(words.get(2).map_or("", String::as_str));
    }
    text::fit(&text::one_line(out.as_bytes()), 32)
}

fn base_name(path: &[u8]) -> String {
    let base = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    String::from_utf8_lossy(base).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Shown {
        shown(&words.iter().map(|w| Bytes::from(*w)).collect::<Vec<_>>())
    }

    #[test]
    fn a_script_shows_as_itself() {
        let exec = ProcessExec {
            argv: vec!["bash".into(), "/opt/shims/python3".into(), "-m".into(), "unittest".into()],
            given: Some("/opt/shims/python3".into()),
            ..ProcessExec::default()
        };
        let got = of_exec(&exec);
        assert_eq!((got.text.as_str(), got.name.as_str()), ("/opt/shims/python3 -m unittest", "python3 -m unittest"));
        let by_env = ProcessExec { argv: [&["/usr/bin/env".into()][..], &exec.argv].concat(), ..exec.clone() };
        assert_eq!(of_exec(&by_env), got);
        let other = ProcessExec { given: Some("/elsewhere".into()), ..exec };
        assert_eq!(of_exec(&other).name, "bash");
    }

    #[test]
    fn wrappers_are_taken_off() {
        for (words, text, name) in [
            (&["cargo", "test", "--lib"][..], "cargo test --lib", "cargo test"),
            (&["/bin/bash", "-lc", "cargo test"], "cargo test", "cargo test"),
            (&["bash", "-c", "-l", "eval 'cargo test' < /dev/null"], "cargo test", "cargo test"),
            (&["sh", "-euo", "pipefail", "-c", "make -j4 all"], "make -j4 all", "make all"),
            (&["env", "-u", "X", "A=b", "timeout", "-k", "5", "30", "go", "test", "./..."], "go test ./...", "go test"),
            (&["/usr/bin/timeout", "120", "bash", "-c", "npm run build"], "npm run build", "npm run"),
            (&["nice", "-n", "10", "make"], "make", "make"),
            (&["bash", "script.sh", "-c"], "bash script.sh -c", "bash"),
            (&["env"], "env", "env"),
            (&["bash", "-c", "cd sub && python3 -m pytest -q"], "cd sub && python3 -m pytest -q", "python3 -m pytest"),
        ] {
            let got = of(words);
            assert_eq!((got.text.as_str(), got.name.as_str()), (text, name), "{words:?}");
        }
    }

    #[test]
    fn the_shell_tool_of_claude_code_shows_as_what_it_was_asked_for() {
        let script = "source /root/.claude/shell-snapshots/snapshot-bash-1.sh && shopt -u extglob 2>/dev/null || true \
                      && eval 'rg -n \"fn main\" src' \\< /dev/null && pwd -P >| /tmp/claude-1-cwd";
        let got = of(&["/bin/bash", "-c", "-l", script]);
        assert_eq!(got.text, "rg -n \"fn main\" src");
        assert!(got.reads && got.asks);
    }

    #[test]
    fn what_reads_and_what_does_not() {
        for (script, reads) in [
            ("ls -la", true),
            ("cat a | head -5", true),
            ("cd x && git status && git diff HEAD~1", true),
            ("rg foo 2>/dev/null", true),
            ("cat a > b", false),
            ("ls; rm x", false),
            ("cat $(touch x)", false),
            ("find . -name '*.o' -delete", false),
            ("find . -name '*.o'", true),
            ("sed -n 1,5p x", true),
            ("sed -i s/a/b/ x", false),
            ("git commit -m x", false),
            ("git -C sub log", true),
            ("echo hi | tee x", false),
            ("cat 'a;b>c'", true),
        ] {
            assert_eq!(of(&["sh", "-c", script]).reads, reads, "{script}");
        }
    }

    #[test]
    fn shells_that_read_commands_are_transparent_and_a_megabyte_is_cut() {
        assert!(of(&["-bash"]).transparent && of(&["bash", "--norc", "-i"]).transparent);
        assert!(!of(&["bash", "x.sh"]).transparent && !of(&["bash", "-c", "x"]).transparent);
        let long = "x\u{1b}".repeat(1 << 20);
        let got = of(&["printf", &long]);
        assert!(text::columns(&got.text) <= TEXT && !got.text.contains('\u{1b}'));
    }
}
