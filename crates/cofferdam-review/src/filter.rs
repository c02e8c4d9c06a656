//! Which events a reader asked for.

use cofferdam_core::Timestamp;
use cofferdam_core::event::{BlobRef, Event, EventKind};
use regex::bytes::{Regex, RegexBuilder};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::event_line::{KINDS, kind_of};
use crate::{Error, Heads, Result};

/// Most bytes of an output that are searched.
const SEARCHED: u64 = 4 << 20;
/// Most memory of a compiled pattern, in bytes.
const PATTERN: usize = 4 << 20;

/// Conditions that events must meet, all of them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these kinds; none: any.
    pub kinds: Vec<&'static str>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// What they say, print or name matches this.
    pub pattern: Option<Regex>,
}

impl Filter {
    /// The kinds that a person named, by whole names or their first parts (`process`).
    ///
    /// # Errors
    /// [`Error::UnknownKind`].
    pub fn kinds<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static str>> {
        let mut kinds = Vec::new();
        for name in names {
            let name = name.as_ref();
            let hit =
                |kind: &&&str| **kind == name || kind.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            let before = kinds.len();
            kinds.extend(KINDS.iter().filter(hit));
            if kinds.len() == before {
                return Err(Error::UnknownKind { name: name.to_owned(), known: KINDS.to_vec() });
            }
        }
        Ok(kinds)
    }

    /// A pattern that a person typed (syntax of the crate `regex`); it matches bytes that are no UTF-8, too. Letters are
    /// the same in upper and lower case (`(?i)`) only within ASCII.
    ///
    /// # Errors
    /// [`Error::Pattern`].
    pub fn pattern(text: &str) -> Result<Regex> {
        let build = |unicode| RegexBuilder::new(text).multi_line(true).unicode(unicode).size_limit(PATTERN).build();
        // The tables of all scripts' cases and classes are 120 KB of pointers, which every start of every command would
        // relocate; what needs them is read without.
        build(true).or_else(|error| build(false).map_err(|_| error)).map_err(Error::from)
    }

    /// Whether an event meets them. Outputs and prompts are read for a pattern, their first 4 MiB.
    pub fn takes(&self, event: &Event, heads: &Heads) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind_of(&event.what)))
            && self.since.is_none_or(|since| event.time >= since)
            && self.pattern.as_ref().is_none_or(|pattern| matches(pattern, event, heads))
    }

    /// The lines of an event's output that the pattern matches, at most `most`, and how many there are.
    pub fn lines(&self, event: &Event, heads: &Heads, most: usize) -> (Vec<Vec<u8>>, u64) {
        let (mut lines, mut count) = (Vec::new(), 0);
        let (Some(pattern), EventKind::CommandOutput(output)) = (&self.pattern, &event.what) else {
            return (lines, count);
        };
        let Ok(text) = heads.read(&output.blob, SEARCHED) else { return (lines, count) };
        for line in text.split(|b| *b == b'\n').filter(|line| pattern.is_match(line)) {
            count += 1;
            if lines.len() < most {
                lines.push(line.to_vec());
            }
        }
        (lines, count)
    }
}

fn matches(pattern: &Regex, event: &Event, heads: &Heads) -> bool {
    let blob = |blob: &BlobRef| heads.read(blob, SEARCHED).is_ok_and(|text| pattern.is_match(&text));
    let text = |text: &str| pattern.is_match(text.as_bytes());
    match &event.what {
        EventKind::ProcessExec(exec) => {
            pattern.is_match(&exec.argv.iter().map(|a| a.0.as_slice()).collect::<Vec<_>>().join(&b' '))
                || pattern.is_match(&exec.executable.path.0)
        }
        EventKind::RunStarted(started) => {
            pattern.is_match(&started.argv.iter().map(|a| a.0.as_slice()).collect::<Vec<_>>().join(&b' '))
        }
        EventKind::ProcessImage(image) => pattern.is_match(&image.executable.path.0),
        EventKind::TestResult(tests) => text(&tests.framework) || tests.failing.iter().any(|name| text(name)),
        EventKind::TestReproduced(stamp) => {
            text(stamp.run.as_str()) || stamp.now.results.iter().flat_map(|r| &r.failing).any(|name| text(name))
        }
        EventKind::RunFrom(from) => text(from.run.as_str()),
        EventKind::FileChanged(change) => pattern.is_match(&change.path.0),
        EventKind::PromotionApplied(data) | EventKind::PromotionAborted(data) | EventKind::PromotionUndone(data) => {
            data.paths.iter().any(|change| pattern.is_match(&change.path.0))
        }
        EventKind::CommandOutput(output) => blob(&output.blob),
        EventKind::Prompt(prompt) => blob(&prompt.text),
        EventKind::NetLookup(lookup) => text(&lookup.name),
        EventKind::NetConnect(connect) => text(&connect.host) || text(&connect.purpose),
        EventKind::NetDenied(denied) => {
            text(&denied.host) || text(&denied.reason) || denied.path.as_deref().is_some_and(text)
        }
        EventKind::HttpExchange(exchange) => {
            text(&exchange.url)
                || text(&exchange.purpose)
                || [&exchange.sent, &exchange.received].into_iter().filter_map(|body| body.kept.as_ref()).any(blob)
        }
        EventKind::RunAgent(agent) => text(&agent.name) || pattern.is_match(&agent.path.0),
        EventKind::ModelRequest(request) => {
            text(&request.model)
                || text(&request.provider)
                || text(&request.host)
                || request.tools.iter().any(|t| text(t))
        }
        EventKind::ModelResponse(response) => {
            response.error.as_deref().is_some_and(text) || response.text.as_ref().is_some_and(blob)
        }
        EventKind::ToolCall(call) => text(&call.name) || call.arguments.as_ref().is_some_and(blob),
        EventKind::ToolResult(result) => result.content.as_ref().is_some_and(blob),
        EventKind::TripwirePlaced { paths } => paths.iter().any(|path| pattern.is_match(&path.0)),
        EventKind::TripwireOpened(opened) => pattern.is_match(&opened.path.0),
        EventKind::NetPublished(published) => published.addresses.iter().any(|address| text(&address.to_string())),
        EventKind::NetUnpublished(ended) => ended.addresses.iter().any(|address| text(&address.to_string())),
        EventKind::CredentialFetched(fetch) | EventKind::CredentialFailed(fetch) => {
            text(&fetch.name) || fetch.error.as_deref().is_some_and(text)
        }
        EventKind::CredentialUsed(used) => text(&used.name) || text(&used.host) || text(&used.purpose),
        EventKind::PolicyChanged { added, .. } => added.iter().any(|rule| text(&rule.to_string())),
        EventKind::LimitReached { limit, action, .. } => text(limit) || text(action),
        EventKind::EvidenceGap { what, .. } => text(what),
        EventKind::WorkspaceOpened { .. } => false,
        EventKind::RunEnded(_) | EventKind::ProcessExit(_) | EventKind::RunDiscarded { .. } => false,
    }
}

/// What a person means by a time: so long before `end`, or a date or a time of UTC.
///
/// # Errors
/// [`Error::When`].
pub fn since(text: &str, end: Timestamp) -> Result<Timestamp> {
    let wrong = || Error::When(text.to_owned());
    let unit = match text.as_bytes().last() {
        Some(b's') => Some(1),
        Some(b'm') => Some(60),
        Some(b'h') => Some(3600),
        Some(b'd') => Some(86_400),
        Some(b'w') => Some(7 * 86_400),
        _ => None,
    };
    // A unit is one byte of ASCII: what stands before it ends at a character.
    let count = unit.and_then(|_| text[..text.len() - 1].parse::<u32>().ok());
    if let (Some(unit), Some(count)) = (unit, count) {
        return Ok(Timestamp(end.0.saturating_sub(i64::from(count).saturating_mul(unit * 1_000_000_000))));
    }
    let day = format_description!("[year]-[month]-[day]");
    let minute = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let second = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .map(|t| t.to_offset(UtcOffset::UTC))
        .or_else(|_| PrimitiveDateTime::parse(text, second).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| PrimitiveDateTime::parse(text, minute).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| Date::parse(text, day).map(|d| d.midnight().assume_utc()))
        .map_err(|_| wrong())?;
    i64::try_from(moment.unix_timestamp_nanos()).map(Timestamp).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let end = Timestamp(1_795_527_601_000_000_000);
        let noon = since("2026-11-24T12:00", end).unwrap();
        assert_eq!(noon.to_string(), "2026-11-24T12:00:00.000000000Z");
        for (text, wanted) in [
            ("90s", Timestamp(end.0 - 90_000_000_000)),
            ("2h", Timestamp(end.0 - 7_200_000_000_000)),
            ("2026-11-24T12:00:00", noon),
            ("2026-11-24T13:00:00+01:00", noon),
            ("2026-11-24", Timestamp(noon.0 - 43_200_000_000_000)),
        ] {
            assert_eq!(since(text, end).unwrap(), wanted, "{text}");
        }
        for bad in ["", "m", "-5m", "yesterday", "2026-13-01", "5", "é"] {
            assert!(since(bad, end).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_by_name_and_by_family() {
        assert_eq!(Filter::kinds(&["process"]).unwrap(), ["process.exec", "process.image", "process.exit"]);
        assert_eq!(Filter::kinds(&["prompt", "test.result"]).unwrap(), ["prompt", "test.result"]);
        let said = Filter::kinds(&["tests"]).unwrap_err().to_string();
        assert!(said.contains("tests") && said.contains("test.result"), "{said}");
    }
    #[test]
    fn patterns_as_people_write_them() {
        for (text, hit) in [
            ("(?i)ERROR", &b"an error\xff"[..]),
            ("(?i)straße", "STRAße".as_bytes()),
            (r"\bgrün\w+: \d+", "grünes: 12".as_bytes()),
            ("^second$", b"first\nsecond"),
            ("[éè]", "é".as_bytes()),
        ] {
            assert!(Filter::pattern(text).unwrap().is_match(hit), "{text}");
        }
        let said = Filter::pattern("(open").unwrap_err().to_string();
        assert!(said.contains("unclosed group"), "{said}");
    }
}
