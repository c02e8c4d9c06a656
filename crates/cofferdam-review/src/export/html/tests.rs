//! Hostile content must stay text, and a long run must stay a short page.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cofferdam_core::event::{EventKind, FileChanged, Link, NetDenied, Prompt, PromptSource, Stream, TestResult};
use cofferdam_workspace::diff::{DiffOptions, compute, is_hidden};
use cofferdam_workspace::{ChangeOptions, Layers, change_set};
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

use super::*;
use crate::export::samples::{self, Sample, exec, exit, output};

/// What would act where it is not text.
const EVIL: &str = "</pre></title></style></script><script>alert(1)</script><img src=x onerror=alert(1)>\
    <svg/onload=alert(1)>\"'><a href=javascript:alert(1)>x</a><!--&lt;\u{202e}\u{200b}\u{7}\u{1b}]8;;x\u{7}&#0;<details open ontoggle=x>";

/// A diff over plain directories.
fn diff_of(files: &[(&[u8], String)]) -> Diff {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    for dir in ["real", "upper", "base"] {
        fs::create_dir(at(dir)).unwrap();
    }
    for (name, text) in files {
        let path = at("upper").join(Path::new(std::ffi::OsStr::from_bytes(name)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let layers = Layers::open(at("real"), at("upper"), at("base")).unwrap();
    let changes = change_set(&layers, &ChangeOptions::default()).unwrap();
    compute(&layers, &changes, &DiffOptions::default()).unwrap()
}

fn page_of(sample: &Sample, diff: Option<&Diff>) -> String {
    let mut out = Vec::new();
    write(&sample.record(), diff, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every element and attribute that the templates make.
const MADE: &[(&str, &[&str])] = &[
    ("html", &["lang"]),
    ("head", &[]),
    ("meta", &["charset", "http-equiv", "content", "name"]),
    ("title", &[]),
    ("style", &[]),
    ("body", &[]),
    ("header", &[]),
    ("h1", &[]),
    ("h2", &[]),
    ("p", &["class"]),
    ("b", &["class"]),
    ("div", &["class"]),
    ("dl", &["class"]),
    ("dt", &[]),
    ("dd", &[]),
    ("code", &[]),
    ("pre", &["class", "tabindex"]),
    ("span", &["class", "id", "hidden", "title", "aria-live"]),
    ("nav", &["aria-label"]),
    ("a", &["href"]),
    ("input", &["id", "type", "placeholder", "aria-label", "autocomplete", "spellcheck"]),
    ("button", &["id", "type"]),
    ("main", &[]),
    ("section", &["id"]),
    ("details", &["id", "class", "open"]),
    ("summary", &[]),
    ("table", &[]),
    ("thead", &[]),
    ("tbody", &[]),
    ("tr", &["class"]),
    ("th", &["class"]),
    ("td", &["class"]),
    ("footer", &[]),
    ("script", &[]),
];

/// A node as a browser would see it, and the element that it is in.
enum Seen {
    Element(String, Vec<(String, String)>),
    Text(String, String),
}

/// A page as the HTML standard has it read: in the order of the document. A parse error is a failure.
fn parsed(page: &str) -> Vec<Seen> {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors);
    let mut seen = Vec::new();
    let mut stack: Vec<(Handle, String)> = vec![(dom.document.clone(), String::new())];
    while let Some((node, parent)) = stack.pop() {
        let name = match &node.data {
            NodeData::Element { name, attrs, .. } => {
                let name = name.local.to_string();
                let attrs = attrs.borrow();
                let attrs = attrs.iter().map(|a| (a.name.local.to_string(), a.value.to_string())).collect();
                seen.push(Seen::Element(name.clone(), attrs));
                name
            }
            NodeData::Text { contents } => {
                seen.push(Seen::Text(parent, contents.borrow().to_string()));
                continue;
            }
            NodeData::Comment { contents } => panic!("a comment: {contents}"),
            NodeData::ProcessingInstruction { contents, .. } => panic!("an instruction: {contents}"),
            NodeData::Document | NodeData::Doctype { .. } => String::new(),
        };
        stack.extend(node.children.borrow().iter().rev().map(|child| (child.clone(), name.clone())));
    }
    seen
}

/// Checks a page; its text.
fn only_what_the_templates_made(page: &str) -> String {
    let mut text = String::new();
    for node in parsed(page) {
        match node {
            Seen::Element(element, attrs) => {
                let (_, attributes) = MADE
                    .iter()
                    .find(|(name, _)| *name == element)
                    .unwrap_or_else(|| panic!("<{element}> is none of the template's"));
                for (name, value) in attrs {
                    assert!(attributes.contains(&name.as_str()), "<{element} {name}={value:?}>");
                    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
                    match name.as_str() {
                        "id" => assert!(plain(&value), "{value:?}"),
                        "href" => assert!(value.starts_with('#') && plain(&value[1..]), "{value:?}"),
                        "class" => assert!(value.bytes().all(|b| b.is_ascii_lowercase() || b == b' '), "{value:?}"),
                        _ => {}
                    }
                }
            }
            Seen::Text(parent, piece) if !matches!(parent.as_str(), "script" | "style") => text.push_str(&piece),
            Seen::Text(..) => {}
        }
    }
    let hidden: BTreeSet<char> = page.chars().filter(|c| is_hidden(*c)).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    text
}

#[test]
fn hostile_content_makes_no_element_no_attribute_and_hides_nothing() {
    let evil = EVIL.as_bytes();
    let sample = Sample::built(&[evil, b"\xff\xfe"], |log, blobs| {
        let blob = || blobs.put(evil).unwrap();
        let mut put = |cause, what| log.append(cause, what).unwrap();
        put(None, EventKind::Prompt(Prompt { source: PromptSource::Typed, bytes: 900, text: blob() }));
        let mut command = exec(1, &[evil, evil]);
        if let EventKind::ProcessExec(command) = &mut command {
            command.cwd = EVIL.into();
            command.unconfirmed = true;
        }
        put(Some((1, Link::Window)), command);
        put(Some((2, Link::Process)), output(Stream::Stdout, blob()));
        put(
            Some((2, Link::Process)),
            EventKind::TestResult(TestResult {
                framework: EVIL.into(),
                failed: 1,
                failing: vec![EVIL.into()],
                ..TestResult::default()
            }),
        );
        let mut change = FileChanged::new(EVIL.into(), None, None);
        change.commands = vec![2];
        put(None, EventKind::FileChanged(change));
        put(None, EventKind::LimitReached { limit: EVIL.into(), value: 1, action: EVIL.into() });
        put(None, EventKind::EvidenceGap { what: EVIL.into(), count: 1 });
        for cause in [Some((2, Link::Socket)), None] {
            put(cause, samples::exchange(EVIL, &format!("https://{EVIL}/{EVIL}"), EVIL));
            put(cause, samples::connect(EVIL, 443, 0, Some(EVIL)));
            let EventKind::NetDenied(denied) = samples::denial(EVIL, EVIL) else { panic!() };
            let evil = || Some(EVIL.to_owned());
            put(cause, EventKind::NetDenied(NetDenied { method: evil(), path: evil(), allow: evil(), ..denied }));
        }
        put(Some((2, Link::Process)), exit(1, Some(1), None));
    });
    // A slash ends a name.
    let name = EVIL.replace('/', "|");
    let diff = diff_of(&[
        (name.as_bytes(), format!("{EVIL}\n@@ -1 +1 @@\ndiff --git a/x b/x\n")),
        (b"f\xff.txt", EVIL.into()),
    ]);
    assert_eq!(diff.files.len(), 2);
    for diff in [Some(&diff), None] {
        let page = page_of(&sample, diff);
        let text = only_what_the_templates_made(&page);
        let shown = "<script>alert(1)</script><img src=x onerror=alert(1)>";
        assert!(text.matches(shown).count() >= 22, "{}", text.matches(shown).count());
        assert!(
            text.contains("<U+202E><U+200B>^G^[") && text.contains("\\u{202e}\\u{200b}\\u{7}"),
            "hidden characters are written out"
        );
        assert_eq!(page.matches("<script").count(), 1);
    }
}

#[test]
fn the_policy_allows_the_pages_own_script_and_style_and_nothing_else() {
    let page = page_of(&Sample::whole(), None);
    only_what_the_templates_made(&page);
    let nodes = parsed(&page);
    let policies: Vec<&str> = nodes
        .iter()
        .filter_map(|node| match node {
            Seen::Element(name, attrs)
                if name == "meta" && attrs.iter().any(|(_, v)| v == "Content-Security-Policy") =>
            {
                attrs.iter().find(|(name, _)| name == "content").map(|(_, value)| value.as_str())
            }
            _ => None,
        })
        .collect();
    let hash = |element: &str| {
        let texts: Vec<&str> = nodes
            .iter()
            .filter_map(|node| match node {
                Seen::Text(parent, text) if parent == element => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts.len(), 1, "one <{element}>");
        format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(texts[0])))
    };
    let wanted = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash("style"),
        hash("script")
    );
    assert_eq!(policies, [wanted]);
    let place = |what: &str| page.find(what).unwrap();
    assert!(place("Content-Security-Policy") < place("<style") && place("<style") < place("<script"));
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:", "fetch("]
    {
        assert!(!SCRIPT.contains(word), "{word}");
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

#[test]
fn the_network_stands_at_its_command_and_denials_are_never_pushed_out() {
    let sample = Sample::built(&[b"agent"], |log, _| {
        log.append(None, exec(1, &[b"curl", b"x"])).unwrap();
        let mut put = |cause, what| log.append(cause, what).unwrap();
        for n in 0..60 {
            put(Some((1, Link::Socket)), samples::exchange("GET", &format!("https://a.example/{n}"), "fetch"));
        }
        put(Some((1, Link::Socket)), samples::denial("late.example", "no-rule"));
        put(None, samples::denial("nobodys.example", "no-rule"));
    });
    let text = only_what_the_templates_made(&page_of(&sample, None));
    for said in [
        "60 requests",
        "1 denied",
        "denied https late.example:443",
        "denied https nobodys.example:443",
        "41 more requests",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(text.matches("GET https://a.example/").count(), 19);
}

#[test]
fn it_says_what_ran_what_failed_and_what_changed() {
    let sample = Sample::whole();
    let diff = diff_of(&[(b"src/a.rs", "fn a() {}\n".into())]);
    let text = only_what_the_templates_made(&page_of(&sample, Some(&diff)));
    for said in [
        "Verified",
        "all 17 events are signed by the key of this recorder",
        "\u{201c}fix it\u{201d}",
        "exit 101",
        "signal 9",
        "tests::broken FAILED",
        "cargo-test: 2 passed, 1 failed",
        "while it ran, changed: src/a.rs",
        "not recorded: 2 outputs",
        "+fn a() {}",
        "<FF><FE>",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let log = sample.dir().join("log.jsonl");
    let altered = fs::read_to_string(&log).unwrap().replace("src/a.rs", "src/b.rs");
    fs::write(&log, altered).unwrap();
    let record = sample.record();
    // Everything after the first checkpoint is in doubt, the beginning is not.
    if record.report().events > 0 {
        let mut out = Vec::new();
        write(&record, None, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("Tampered with"));
    }
}

/// What a long session leaves: commands, outputs, and a diff of 5,000 lines.
fn long() -> (Sample, Diff) {
    let sample = Sample::built(&[b"agent"], |log, blobs| {
        let mut put = |cause, what| log.append(cause, what).unwrap();
        put(None, exec(1, &[b"agent"]));
        let long = blobs.put("warning: <unused> & \"dead\" code\n".repeat(2_000).as_bytes()).unwrap();
        for n in 0..1_000 {
            let at = 2 + 3 * n;
            put(Some((1, Link::Parent)), exec(2, &[b"cargo", b"test", format!("{n}").as_bytes()]));
            put(Some((at, Link::Process)), output(Stream::Both, long.clone()));
            put(Some((at, Link::Process)), exit(2, Some(i32::from(n % 7 == 0)), None));
        }
    });
    let text: String = (0..5_000).map(|n| format!("    let line_{n} = vec![\"<{n}>\"];\n")).collect();
    (sample, diff_of(&[(b"src/lib.rs", text)]))
}

#[test]
fn a_thousand_commands_and_five_thousand_lines_are_under_three_megabytes() {
    let (sample, diff) = long();
    let page = page_of(&sample, Some(&diff));
    assert!(page.len() < 3_000_000, "{}", page.len());
    let text = only_what_the_templates_made(&page);
    assert!(text.contains("cargo test 999") && text.contains("143 failed"));
    assert!(text.contains("only parts of it are on this page"));
    assert!(text.contains("there is no room for it on this page"));
    assert!(text.contains("line_4999") || text.contains("more of this diff are not on this page"));
}

#[test]
#[ignore = "writes pages for the eye into $COFFER_PAGES"]
fn pages_for_the_eye() {
    let Some(to) = std::env::var_os("COFFER_PAGES") else { return };
    let to = Path::new(&to);
    let (sample, diff) = long();
    fs::write(to.join("long.html"), page_of(&sample, Some(&diff))).unwrap();
    let diff = diff_of(&[(b"src/a.rs", "fn a() {}\n".into()), (b"Makefile", "all:\n\techo hi\n".into())]);
    fs::write(to.join("whole.html"), page_of(&Sample::whole(), Some(&diff))).unwrap();
    fs::write(to.join("gone.html"), page_of(&Sample::whole(), None)).unwrap();
}

#[test]
fn what_models_asked_for_and_were_told_stands_in_the_timeline() {
    use cofferdam_core::event::{ModelResponse, ToolCall, ToolResult};
    let sample = Sample::built(&[b"agent"], |log, blobs| {
        let mut put = |cause: Option<(u64, Link)>, what| log.append(cause, what).unwrap();
        put(None, exec(10, &[b"agent"]));
        let said = blobs.put(EVIL.as_bytes()).unwrap();
        let answer = ModelResponse { request: 1, text: Some(said), ..ModelResponse::default() };
        let answer = put(None, EventKind::ModelResponse(Box::new(answer)));
        let mut call = |id: &str, name: &str, arguments: serde_json::Value| {
            let blob = blobs.put(arguments.to_string().as_bytes()).unwrap();
            let (id, name) = (id.to_owned(), name.to_owned());
            let call = ToolCall { request: 1, id, name, bytes: blob.size, arguments: Some(blob) };
            put(Some((answer, Link::Exchange)), EventKind::ToolCall(call))
        };
        let bash = call("a", "Bash", serde_json::json!({"command": "make check"}));
        let edit = call("b", "Edit", serde_json::json!({"file_path": EVIL, "new_string": EVIL}));
        let command = put(Some((1, Link::Parent)), exec(11, &[b"bash", b"-c", b"make check"]));
        let printed = blobs.put(&b"3 failed\n"[..]).unwrap();
        put(Some((command, Link::Process)), output(Stream::Stdout, printed));
        put(Some((command, Link::Process)), exit(11, Some(2), None));
        for (cause, id, text) in [(bash, "a", "0 failed"), (edit, "b", EVIL)] {
            let blob = blobs.put(text.as_bytes()).unwrap();
            let result =
                ToolResult { request: 2, id: id.to_owned(), error: false, bytes: blob.size, content: Some(blob) };
            put(Some((cause, Link::Id)), EventKind::ToolResult(result));
        }
    });
    let page = page_of(&sample, None);
    for words in
        ["TOLD OTHERWISE", "“0 failed”", "where it has “3 failed”", "asked Bash", "asked Edit", "\u{ab} &lt;/pre&gt;"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("<img src=x") && !page.contains("<script>alert"), "hostile texts stay texts");
}
