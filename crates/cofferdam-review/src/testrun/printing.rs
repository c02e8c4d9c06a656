//! Commands that only print what is stored or given: their output quotes tests, it does not run them.

use cofferdam_core::Bytes;

/// Programs that print files, their arguments or what they are fed.
const PRINTERS: &[&str] = &[
    "ack",
    "ag",
    "awk",
    "base64",
    "bat",
    "batcat",
    "cat",
    "colordiff",
    "column",
    "curl",
    "cut",
    "delta",
    "diff",
    "echo",
    "egrep",
    "fgrep",
    "find",
    "fold",
    "gawk",
    "gh",
    "git",
    "grep",
    "head",
    "hexdump",
    "hg",
    "jq",
    "less",
    "ls",
    "mawk",
    "more",
    "nl",
    "od",
    "printf",
    "rg",
    "sed",
    "sort",
    "strings",
    "svn",
    "tac",
    "tail",
    "tee",
    "tr",
    "ugrep",
    "uniq",
    "wc",
    "wget",
    "xxd",
    "yq",
    "zcat",
    "zgrep",
    "zless",
];

/// Shell words that print nothing and run nothing else.
const SILENT: &[&str] = &[
    ":", "[", "[[", "break", "case", "cd", "continue", "declare", "do", "done", "elif", "else", "esac", "exit",
    "export", "false", "fi", "for", "if", "local", "mkdir", "popd", "pushd", "read", "return", "set", "shift", "sleep",
    "source", "test", "then", "true", "umask", "unset", "until", "wait", "while",
];

/// Programs that run the command in their arguments.
const WRAPPERS: &[&str] =
    &["busybox", "command", "env", "ionice", "nice", "nohup", "setsid", "stdbuf", "sudo", "time", "timeout", "xargs"];

/// Shells that take a script with `-c`.
const SHELLS: &[&str] = &["ash", "bash", "dash", "ksh", "sh", "zsh"];

/// Whether a command, by its arguments, only prints what is stored or given.
pub(super) fn only_prints(argv: &[Bytes]) -> bool {
    let words: Vec<String> = argv.iter().map(|a| String::from_utf8_lossy(&a.0).into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(at) = program(&words) else { return false };
    let name = base(words[at]);
    if SHELLS.contains(&name) {
        let script = words[at + 1..].iter().skip_while(|w| !is_script_option(w)).nth(1);
        return script.is_some_and(|script| script_only_prints(script));
    }
    PRINTERS.contains(&name)
}

/// The place of the program that really runs, behind wrappers and their options.
pub(super) fn program(words: &[&str]) -> Option<usize> {
    let mut wrapped = false;
    for (at, word) in words.iter().enumerate() {
        let is_own = |w: &str| w.starts_with('-') || w.contains('=') || w.starts_with(|c: char| c.is_ascii_digit());
        if wrapped && is_own(word) {
            continue;
        }
        if !WRAPPERS.contains(&base(word)) {
            return Some(at);
        }
        wrapped = true;
    }
    None
}

pub(super) fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// `-c`, also among others (`-lc`).
fn is_script_option(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|o| !o.starts_with('-') && o.contains('c'))
}

/// Whether each command of a script prints or is silent, and one does print.
fn script_only_prints(script: &str) -> bool {
    let mut prints = false;
    for command in commands(script) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let words = match words.first() {
            Some(&("then" | "do" | "else" | "if" | "while" | "until" | "!" | "{" | "}")) => &words[1..],
            _ => &words[..],
        };
        let is_assignment = |w: &&str| w.split_once('=').is_some_and(|(n, _)| !n.is_empty() && !n.contains('/'));
        let Some(first) = words.iter().position(|w| !is_assignment(w)) else { continue };
        let words = &words[first..];
        let Some(at) = program(words) else { return false };
        match base(words[at]) {
            name if PRINTERS.contains(&name) => prints = true,
            name if SILENT.contains(&name) => {}
            _ => return false,
        }
    }
    prints
}

/// The simple commands of a shell script as words, quotes taken off (POSIX.1-2024, XCU 2.2 and 2.9). What is inside
/// quotes or a substitution is part of a word.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut characters = script.chars().peekable();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.push(c),
            (_, '\\') => word.extend(characters.next()),
            (None, '\'' | '"' | '`') => quote = Some(c),
            (Some(_), c) => word.push(c),
            // `2>&1`, `>|`, `&>`: part of a redirection.
            (None, '&' | '|') if before == '>' => word.push(c),
            (None, '&') if characters.peek() == Some(&'>') => word.push(c),
            (None, ';' | '&' | '|' | '\n') => {
                finish(&mut word, &mut all);
                all.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => finish(&mut word, &mut all),
            (None, c) => word.push(c),
        }
        before = c;
    }
    finish(&mut word, &mut all);
    all.retain(|command| !command.is_empty());
    all
}

/// Ends a word; redirections are none.
fn finish(word: &mut String, all: &mut [Vec<String>]) {
    let word = std::mem::take(word);
    let redirects = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&').starts_with(['<', '>']);
    if let Some(command) = all.last_mut()
        && !word.is_empty()
        && !redirects
    {
        command.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(words: &[&str]) -> bool {
        only_prints(&words.iter().map(|w| Bytes::from(*w)).collect::<Vec<_>>())
    }

    #[test]
    fn printers_are_known_behind_wrappers_and_in_scripts() {
        for words in [
            &["cat", "log"][..],
            &["/usr/bin/tail", "-n", "20", "log"],
            &["git", "show", "HEAD:log"],
            &["env", "LC_ALL=C", "grep", "passed", "log"],
            &["timeout", "-k", "1", "5s", "cat", "log"],
            &["sh", "-c", "cat log"],
            &["bash", "-lc", "cd /tmp && cat log 2>&1 | tail -5; exit 0"],
            &["sh", "-c", "X=1 echo 'running 1 test; cargo test' && printf \"a | make\\n\" > /dev/stdout"],
            &["sh", "-c", "if [ -f log ]; then cat log; else echo none; fi"],
            &["sh", "-c", "echo \"$(cargo test)\""],
        ] {
            assert!(prints(words), "{words:?}");
        }
        for words in [
            &["cargo", "test"][..],
            &["make", "check"],
            &["sh", "-c", "cargo test 2>&1 | tail -20"],
            &["sh", "-c", "cat log; ./run-tests"],
            &["sh", "-c", "true"],
            &["sh", "run.sh"],
            &["env", "-i", "npm", "test"],
            &["env"],
            &[],
            &["sh", "-c"],
        ] {
            assert!(!prints(words), "{words:?}");
        }
    }
}
