//! What a model asks for, read from the arguments of a tool call.
//!
//! Agents name their tools and arguments as they like; what is looked at here are the names that the known ones use
//! (Claude Code, Codex, Gemini CLI, OpenCode, Aider, and what the providers' own tools are called).

use cofferdam_core::Bytes;
use cofferdam_core::change::Digest;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::argv;
use crate::text::{fit, one_line};

/// Most columns kept of what a call asks for.
const TEXT: usize = 240;
/// Most bytes kept of a command, a path or an address.
const LONGEST: usize = 16 << 10;
/// Most files of one call.
const FILES: usize = 32;
/// Most bytes kept of a text that an edit puts into a file.
const FRAGMENT: usize = 64 << 10;

/// The kind of thing that a call asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// That a command runs.
    Command,
    /// That files change.
    Edit,
    /// That a file is read.
    Read,
    /// That something is fetched from, or searched in, the network.
    Fetch,
    /// Anything else.
    #[default]
    Other,
}

/// What a call asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks {
    pub kind: Kind,
    /// For a line: safe for a terminal, shortened.
    pub text: String,
    /// The command, each text that its process may have been given; the path; or the address.
    pub target: Vec<String>,
    /// Files that are to change.
    pub edits: Vec<Edit>,
}

/// A file that is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// As the model wrote it.
    pub path: String,
    /// The digest of all that it is to hold.
    pub whole: Option<Digest>,
    /// A text that it is to hold.
    pub fragment: Option<String>,
    /// It is to be deleted.
    pub gone: bool,
}

/// Reads the arguments of a tool: JSON, or the text of a tool that takes text.
pub(crate) fn asks(tool: &str, arguments: &[u8]) -> Asks {
    let lossy = String::from_utf8_lossy(arguments);
    let value: Option<Value> = serde_json::from_slice(arguments).ok();
    let text = |keys: &[&str]| value.as_ref().and_then(|value| string(value, keys));
    let patch = patch_in(value.as_ref(), &lossy);
    if !patch.is_empty() {
        return edit(patch);
    }
    if let Some(path) = text(&PATHS) {
        let edits = value.as_ref().map(|value| edits(value, &path)).unwrap_or_default();
        if !edits.is_empty() {
            return edit(edits);
        }
        // `{"command": "view", "path": …}` of the editor that models bring.
        if !is_search(tool) {
            return Asks { kind: Kind::Read, text: shown(&path), target: vec![cut(&path)], edits: Vec::new() };
        }
    }
    if let Some(address) = text(&["url", "uri"]) {
        return Asks { kind: Kind::Fetch, text: shown(&address), target: vec![cut(&address)], edits: Vec::new() };
    }
    let name = tool.to_ascii_lowercase();
    if ["fetch", "web_search", "websearch", "browse", "google_web"].iter().any(|word| name.contains(word)) {
        let what = text(&["query", "prompt", "q"]).unwrap_or_else(|| lossy.clone().into_owned());
        return Asks { kind: Kind::Fetch, text: shown(&what), target: vec![cut(&what)], edits: Vec::new() };
    }
    if let Some(words) = value.as_ref().and_then(command) {
        let texts = argv::texts(&words);
        let text = texts.first().map(|text| shown(text)).unwrap_or_default();
        return Asks {
            kind: Kind::Command,
            text,
            target: texts.iter().map(|text| cut(text)).collect(),
            edits: Vec::new(),
        };
    }
    if value.is_none() && ["shell", "bash", "exec"].iter().any(|word| name.contains(word)) {
        return Asks { kind: Kind::Command, text: shown(&lossy), target: vec![cut(&lossy)], edits: Vec::new() };
    }
    Asks { kind: Kind::Other, text: shown(&lossy), target: Vec::new(), edits: Vec::new() }
}

const PATHS: [&str; 8] =
    ["file_path", "filePath", "path", "absolute_path", "filename", "notebook_path", "target_file", "file"];

/// Tools whose `path` is where they search.
fn is_search(tool: &str) -> bool {
    let name = tool.to_ascii_lowercase();
    ["grep", "glob", "search", "list", "ls"].iter().any(|word| name.contains(word))
}

fn string(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| value.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}

fn command(value: &Value) -> Option<Vec<Bytes>> {
    let of = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(vec![Bytes::from(text.as_str())]),
        Value::Array(words) if !words.is_empty() => {
            words.iter().map(|word| word.as_str().map(Bytes::from)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    // Codex's built-in shell puts it one deeper.
    let places = [Some(value), value.get("action")];
    places
        .into_iter()
        .flatten()
        .find_map(|place| ["command", "cmd", "script"].iter().find_map(|key| of(place.get(key)?)))
}

fn edits(value: &Value, path: &str) -> Vec<Edit> {
    let base = || Edit { path: cut(path), ..Edit::default() };
    if let Some(content) =
        value.get("content").or(value.get("file_text")).or(value.get("contents")).and_then(Value::as_str)
    {
        return vec![Edit { whole: Some(digest(content.as_bytes())), fragment: fragment(content), ..base() }];
    }
    const NEW: [&str; 6] = ["new_string", "newString", "new_str", "newText", "new_source", "insert_text"];
    fn new(value: &Value) -> Option<&str> {
        NEW.iter().find_map(|key| value.get(key)?.as_str())
    }
    if let Some(text) = new(value) {
        return vec![Edit { fragment: fragment(text), ..base() }];
    }
    let several = value.get("edits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // One path: the text of one of them shows that the content is that of the call.
    let longest = several.iter().filter_map(new).max_by_key(|text| text.len());
    longest.map(|text| Edit { fragment: fragment(text), ..base() }).into_iter().collect()
}

/// A patch in the form that Codex's `apply_patch` takes, wherever in the arguments it is.
fn patch_in(value: Option<&Value>, text: &str) -> Vec<Edit> {
    const BEGIN: &str = "*** Begin Patch";
    let holds = |text: &&str| text.contains(BEGIN);
    let found = match value {
        None => Some(text).filter(holds),
        Some(Value::String(text)) => Some(text.as_str()).filter(holds),
        Some(value) => {
            let texts = ["input", "patch", "command", "cmd", "patchText"].iter().filter_map(|key| value.get(key));
            texts
                .flat_map(|value| match value {
                    Value::String(text) => vec![text.as_str()],
                    Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
                    _ => Vec::new(),
                })
                .find(holds)
        }
    };
    found.and_then(|text| text.split_once(BEGIN)).map(|(_, patch)| of_patch(patch)).unwrap_or_default()
}

fn of_patch(patch: &str) -> Vec<Edit> {
    let mut edits: Vec<(Edit, bool)> = Vec::new();
    let mut run = String::new();
    // The longest run of added lines is what is looked for.
    let close = |edits: &mut Vec<(Edit, bool)>, run: &mut String| {
        if let Some((edit, added)) = edits.last_mut() {
            if *added {
                edit.whole = Some(digest(run.as_bytes()));
            }
            if !run.is_empty() && edit.fragment.as_ref().is_none_or(|known| known.len() < run.len()) {
                edit.fragment = fragment(run);
            }
        }
        run.clear();
    };
    for line in patch.lines() {
        let begins =
            [("*** Add File: ", true, false), ("*** Update File: ", false, false), ("*** Delete File: ", false, true)];
        let begun = begins.iter().find_map(|(word, added, gone)| Some((line.strip_prefix(word)?, *added, *gone)));
        if line.starts_with("*** End Patch") {
            break;
        } else if let Some((path, added, gone)) = begun {
            close(&mut edits, &mut run);
            if edits.len() == FILES {
                return edits.into_iter().map(|(edit, _)| edit).collect();
            }
            edits.push((Edit { path: cut(path.trim()), gone, ..Edit::default() }, added));
        } else if let Some(path) = line.strip_prefix("*** Move to: ") {
            if let Some((edit, _)) = edits.last_mut() {
                edit.path = cut(path.trim());
            }
        } else if let Some(text) = line.strip_prefix('+') {
            run.push_str(text);
            run.push('\n');
        } else {
            close(&mut edits, &mut run);
        }
    }
    close(&mut edits, &mut run);
    edits.into_iter().map(|(edit, _)| edit).collect()
}

fn edit(edits: Vec<Edit>) -> Asks {
    let paths: Vec<&str> = edits.iter().map(|edit| edit.path.as_str()).collect();
    Asks { kind: Kind::Edit, text: shown(&paths.join(", ")), target: Vec::new(), edits }
}

fn fragment(text: &str) -> Option<String> {
    (!text.trim().is_empty() && text.len() <= FRAGMENT).then(|| text.to_owned())
}

fn digest(content: &[u8]) -> Digest {
    Digest(Sha256::digest(content).into())
}

fn shown(text: &str) -> String {
    fit(&one_line(cut(text).trim().as_bytes()), TEXT)
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tool: &str, arguments: &str) -> (Kind, String) {
        let asks = asks(tool, arguments.as_bytes());
        (asks.kind, asks.text)
    }

    #[test]
    fn what_the_tools_of_known_agents_ask_for() {
        for (tool, arguments, kind, text) in [
            ("Bash", r#"{"command":"cargo test","description":"Run"}"#, Kind::Command, "cargo test"),
            ("shell", r#"{"command":["bash","-lc","ls -la | head"]}"#, Kind::Command, "ls -la | head"),
            ("exec_command", r#"{"cmd":"git status","workdir":"/x"}"#, Kind::Command, "git status"),
            ("local_shell", r#"{"action":{"command":["ls","a b"]}}"#, Kind::Command, "ls 'a b'"),
            ("shell", "cargo build", Kind::Command, "cargo build"),
            ("Write", r#"{"file_path":"/p/a.rs","content":"x"}"#, Kind::Edit, "/p/a.rs"),
            ("edit", r#"{"filePath":"a.rs","oldString":"x","newString":"y"}"#, Kind::Edit, "a.rs"),
            ("str_replace_based_edit_tool", r#"{"command":"create","path":"b","file_text":""}"#, Kind::Edit, "b"),
            ("str_replace_based_edit_tool", r#"{"command":"view","path":"b"}"#, Kind::Read, "b"),
            ("Read", r#"{"file_path":"/p/a.rs"}"#, Kind::Read, "/p/a.rs"),
            ("Grep", r#"{"pattern":"x","path":"src"}"#, Kind::Other, r#"{"pattern":"x","path":"src"}"#),
            ("WebFetch", r#"{"url":"https://a.example/b","prompt":"p"}"#, Kind::Fetch, "https://a.example/b"),
            ("google_web_search", r#"{"query":"rust"}"#, Kind::Fetch, "rust"),
            ("mcp__x", "not json \u{1b}[2J", Kind::Other, "not json \\u{1b}[2J"),
            ("Bash", r#"{"command":7}"#, Kind::Other, r#"{"command":7}"#),
        ] {
            assert_eq!(of(tool, arguments), (kind, text.to_owned()), "{tool} {arguments}");
        }
    }

    #[test]
    fn patches_name_files_and_what_they_get() {
        let patch = "*** Begin Patch\n*** Add File: new.txt\n+one\n+two\n*** Update File: src/a.rs\n@@\n-x\n+y\n+z\n c\n+w\n\
                     *** Delete File: old\n*** End Patch\n*** Add File: no\n";
        let words = serde_json::json!({"command": ["apply_patch", patch]}).to_string();
        for arguments in [patch, &words, &serde_json::json!({"input": patch}).to_string()] {
            let edits = asks("apply_patch", arguments.as_bytes()).edits;
            assert_eq!(edits.len(), 3, "{arguments}");
            assert_eq!((edits[0].path.as_str(), edits[0].whole), ("new.txt", Some(digest(b"one\ntwo\n"))));
            assert_eq!((edits[1].path.as_str(), edits[1].fragment.as_deref()), ("src/a.rs", Some("y\nz\n")));
            assert!(edits[2].gone && edits[1].whole.is_none());
        }
    }

    #[test]
    fn giants_are_cut() {
        let long = serde_json::json!({"command": "é".repeat(1 << 20)}).to_string();
        let asks = asks("Bash", long.as_bytes());
        assert!(asks.target.iter().all(|text| text.len() <= LONGEST) && asks.text.len() < 1000);
        let deep = "[".repeat(100_000);
        assert_eq!(of("x", &deep).0, Kind::Other);
    }
}
