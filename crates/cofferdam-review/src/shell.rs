//! Just enough of the shell's grammar (POSIX.1-2024, section 2) to say what a one-line script does. Where in doubt it is
//! more than reading.

/// Programs that only read, whatever their arguments.
const READS: &[&str] = &[
    "ls",
    "cat",
    "rg",
    "grep",
    "egrep",
    "fgrep",
    "head",
    "tail",
    "wc",
    "pwd",
    "stat",
    "file",
    "which",
    "whereis",
    "type",
    "tree",
    "du",
    "df",
    "id",
    "whoami",
    "uname",
    "date",
    "cd",
    "true",
    "echo",
    "printf",
    "test",
    "[",
    "realpath",
    "readlink",
    "basename",
    "dirname",
    "nl",
    "cut",
    "tr",
    "column",
    "diff",
    "cmp",
    "comm",
    "sha256sum",
    "md5sum",
    "xxd",
    "hexdump",
    "jq",
    "ps",
    "env",
    "printenv",
    "hostname",
    "less",
    "more",
    "fd",
    "fdfind",
    "uniq",
    "strings",
    "bat",
];
const GIT_READS: &[&str] =
    &["status", "diff", "log", "show", "blame", "ls-files", "rev-parse", "grep", "describe", "cat-file", "ls-tree"];
/// Programs whose exit code 1 is an answer.
const ASKS: &[&str] = &["grep", "egrep", "fgrep", "rg", "diff", "cmp", "test", "[", "pgrep", "which", "type"];

/// The simple commands of a script.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The words of each, quotes taken off.
    pub commands: Vec<Vec<String>>,
    /// It writes no file by a redirection, and has nothing in it that was not understood (substitutions, compound
    /// commands, here-documents).
    pub plain: bool,
}

/// Takes a script apart at its operators.
pub(crate) fn simple_commands(script: &str) -> Parts {
    let mut parts = Parts { commands: Vec::new(), plain: true };
    let mut piece = String::new();
    let mut quote = None;
    let mut chars = script.chars().peekable();
    let end = |piece: &mut String, parts: &mut Parts| {
        let text = std::mem::take(piece);
        if text.trim().is_empty() {
            return;
        }
        match shlex::split(&text) {
            Some(mut words) => {
                // A variable can make any program do anything (GIT_PAGER).
                while words.first().is_some_and(|w| is_assignment(w)) && words.len() > 1 {
                    words.remove(0);
                    parts.plain = false;
                }
                if words.first().is_some_and(|w| is_reserved(w)) {
                    parts.plain = false;
                }
                parts.commands.push(words);
            }
            None => parts.plain = false,
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None | Some('"'), '\\') => {
                piece.push(c);
                piece.extend(chars.next());
                continue;
            }
            (None | Some('"'), '`') => parts.plain = false,
            (None | Some('"'), '$') if chars.peek() == Some(&'(') => parts.plain = false,
            (None, ';' | '|' | '\n') => {
                end(&mut piece, &mut parts);
                continue;
            }
            (None, '&') => {
                end(&mut piece, &mut parts);
                continue;
            }
            (None, '(' | ')' | '{' | '}') => parts.plain = false,
            (None, '<') => {
                // A here-document, or a file to read: the words that follow are no arguments.
                if chars.peek() == Some(&'<') || chars.peek() == Some(&'(') {
                    parts.plain = false;
                }
                skip_word(&mut chars);
                continue;
            }
            (None, '>') => {
                let target = skip_word(&mut chars);
                if !target.starts_with('&') && target != "/dev/null" {
                    parts.plain = false;
                }
                // The descriptor before it is no argument.
                if piece.ends_with(|d: char| d.is_ascii_digit())
                    && piece.chars().rev().nth(1).is_none_or(char::is_whitespace)
                {
                    piece.pop();
                }
                continue;
            }
            _ => {}
        }
        piece.push(c);
    }
    if quote.is_some() {
        parts.plain = false;
    }
    end(&mut piece, &mut parts);
    parts
}

/// The word behind a redirection.
fn skip_word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    while chars.next_if(|c| matches!(c, '>' | '|' | '<' | ' ' | '\t')).is_some() {}
    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '|')) {
        word.push(c);
    }
    word
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.as_bytes()[0].is_ascii_digit()
    })
}

fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "if" | "then"
            | "else"
            | "elif"
            | "fi"
            | "for"
            | "while"
            | "until"
            | "do"
            | "done"
            | "case"
            | "esac"
            | "function"
            | "!"
    )
}

/// What an agent's shell tool wraps into `eval '…'`, where the script has such a word.
pub(crate) fn evaluated(script: &str) -> Option<String> {
    // Most scripts have none, and taking words apart is slow.
    if !script.contains("eval ") {
        return None;
    }
    let words = shlex::split(script)?;
    let at = words.iter().position(|w| w == "eval")?;
    let leads =
        at == 0 || matches!(words[at - 1].as_str(), "&&" | "||" | ";" | "then" | "do") || words[at - 1].ends_with(';');
    words.get(at + 1).filter(|_| leads).cloned()
}

/// Whether a simple command only reads.
pub(crate) fn is_read(words: &[String]) -> bool {
    let Some(first) = words.first() else { return false };
    let program = base(first);
    let rest = &words[1..];
    match program {
        "git" => {
            let mut at = 0;
            while rest.get(at).is_some_and(|w| w.starts_with('-')) {
                at += if rest[at] == "-C" { 2 } else { 1 };
            }
            rest.get(at).is_some_and(|w| GIT_READS.contains(&w.as_str()))
                && !rest.iter().any(|w| w.starts_with("--output") || w == "-o" || w.starts_with("-c"))
        }
        "sed" => {
            rest.iter().any(|w| w == "-n") && !rest.iter().any(|w| w.starts_with("-i") || w.starts_with("--in-place"))
        }
        "find" => !rest.iter().any(|w| {
            ["-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf", "-fls", "-fprint0"]
                .contains(&w.as_str())
        }),
        "sort" => !rest.iter().any(|w| w.starts_with("-o") || w.starts_with("--output")),
        "fd" | "fdfind" => !rest.iter().any(|w| w.starts_with("-x") || w.starts_with("-X") || w.starts_with("--exec")),
        "rg" => !rest.iter().any(|w| w.starts_with("--pre")),
        program => READS.contains(&program),
    }
}

/// Whether its exit code 1 is an answer and no failure.
pub(crate) fn asks(words: &[String]) -> bool {
    let git = words.first().is_some_and(|w| base(w) == "git");
    let answers = git && words.get(1).is_some_and(|w| w == "diff" || w == "grep");
    answers || words.first().is_some_and(|w| ASKS.contains(&base(w)))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
