//! JUnit XML, as most test frameworks write it: `testsuites`, `testsuite`, `testcase` with `failure`, `error`, `skipped`
//! (<https://github.com/testmoapp/junitxml>). There is no standard; the elements are counted, not the sums that files claim.

use cofferdam_core::event::TestResult;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::numbers::plus;

/// Largest report that is read, in bytes.
const MOST_BYTES: usize = 16 << 20;
/// Deepest nesting of elements.
const MOST_DEPTH: u32 = 64;

/// A test case under way.
#[derive(Default)]
struct Case {
    name: String,
    depth: u32,
    failed: bool,
    skipped: bool,
}

/// How long it took, in milliseconds.
#[derive(Default)]
struct Time {
    /// By the root.
    whole: Option<u64>,
    /// By what is directly below it.
    parts: Option<u64>,
}

pub(super) fn read(content: &[u8]) -> Option<TestResult> {
    if content.len() > MOST_BYTES {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_ascii_whitespace());
    if !text.starts_with('<') {
        return None;
    }
    let mut reader = Reader::from_str(text);
    let mut result = super::result("junit");
    let mut depth = 0;
    let mut roots = 0;
    let mut case: Option<Case> = None;
    let mut time = Time::default();
    loop {
        let event = reader.read_event().ok()?;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                if depth == 0 {
                    roots += 1;
                    if roots > 1 || !matches!(tag.name().as_ref(), "testsuites" | "testsuite") {
                        return None;
                    }
                }
                depth += 1;
                if depth > MOST_DEPTH {
                    return None;
                }
                open(tag, depth, &mut case, &mut time)?;
                if matches!(event, Event::Empty(_)) {
                    close(depth, &mut case, &mut result);
                    depth -= 1;
                }
            }
            Event::End(_) => {
                close(depth, &mut case, &mut result);
                depth = depth.checked_sub(1)?;
            }
            // Entities that it might declare are nobody's to expand here.
            Event::DocType(_) => return None,
            Event::Eof => {
                result.milliseconds = time.whole.or(time.parts);
                return (depth == 0 && roots == 1).then_some(result);
            }
            Event::Text(_)
            | Event::GeneralRef(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_) => {}
        }
    }
}

fn open(tag: &BytesStart<'_>, depth: u32, case: &mut Option<Case>, time: &mut Time) -> Option<()> {
    match (tag.name().as_ref(), &mut *case) {
        ("testsuites" | "testsuite", None) if depth == 1 => time.whole = seconds(tag)?,
        ("testsuite", None) if depth == 2 => time.parts = plus(time.parts, seconds(tag)?),
        ("testcase", None) => {
            let name = attribute(tag, "name")?.unwrap_or_default();
            let name = match attribute(tag, "classname")? {
                Some(class) if !class.is_empty() && class != name => format!("{class}.{name}"),
                _ => name,
            };
            if depth == 2 {
                time.parts = plus(time.parts, seconds(tag)?);
            }
            let skipped = attribute(tag, "status")?.is_some_and(|s| matches!(s.as_str(), "disabled" | "notrun"));
            *case = Some(Case { name, depth, skipped, failed: false });
        }
        ("failure" | "error", Some(case)) if depth == case.depth + 1 => case.failed = true,
        ("skipped", Some(case)) if depth == case.depth + 1 => case.skipped = true,
        _ => {}
    }
    Some(())
}

fn close(depth: u32, case: &mut Option<Case>, result: &mut TestResult) {
    let Some(done) = case.take_if(|c| c.depth == depth) else { return };
    if done.failed {
        result.failed += 1;
        super::name(&mut result.failing, &done.name);
    } else if done.skipped {
        result.skipped += 1;
    } else {
        result.passed += 1;
    }
}

/// The attribute `time`, in milliseconds.
#[allow(clippy::option_option, reason = "malformed and absent differ")]
fn seconds(tag: &BytesStart<'_>) -> Option<Option<u64>> {
    Some(attribute(tag, "time")?.and_then(|t| super::numbers::seconds(&t)))
}

/// An attribute with the five entities of XML itself resolved. The outer `None` where it is malformed or names another.
#[allow(clippy::option_option, reason = "malformed and absent differ")]
fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<Option<String>> {
    match tag.try_get_attribute(name).ok()? {
        None => Some(None),
        Some(attribute) => Some(Some(quick_xml::escape::unescape(&attribute.value).ok()?.into_owned())),
    }
}
