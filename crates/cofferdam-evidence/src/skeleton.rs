//! What of an event the tree's checks need: readable for kinds that this version does not know.

use std::borrow::Cow;

use cofferdam_core::Timestamp;
use cofferdam_core::event::BlobRef;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The outline of an event.
#[derive(Debug, Deserialize)]
pub(crate) struct Skeleton<'a> {
    pub(crate) seq: u64,
    #[serde(deserialize_with = "time")]
    pub(crate) time: Timestamp,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    pub(crate) cause: Option<u64>,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

impl<'a> Skeleton<'a> {
    /// Reads a line; the error says what is wrong.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8 from byte {}", e.valid_up_to()))?;
        // Read as it is meant: a struct would be read from an array as well.
        if !text.starts_with('{') {
            return Err("not an event: no object".into());
        }
        let event: Self = serde_json::from_str(text).map_err(|e| format!("not an event: {e}"))?;
        // serde_json leaves an object's text as it stands, so that it begins with its brace.
        if event.data.get().starts_with('{') { Ok(event) } else { Err("not an event: its data is no object".into()) }
    }

    /// The run that `run.started` names.
    pub(crate) fn run(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Started {
            run: String,
        }
        serde_json::from_str::<Started>(self.data.get()).map(|s| s.run).map_err(|e| format!("names no run: {e}"))
    }

    /// The blobs that the event names: every object, at any depth, that has the members `digest` and `size` and no others.
    pub(crate) fn blobs(&self) -> Result<Vec<BlobRef>, String> {
        let mut found = Vec::new();
        if may_name_blobs(self.data.get().as_bytes()) {
            let data = serde_json::from_str(self.data.get()).map_err(|e| format!("not an event: {e}"))?;
            collect(&data, &mut found)?;
        }
        Ok(found)
    }
}

/// Whether an object begins with a member of a blob's name, or with what may hide one: white space, an escape.
fn may_name_blobs(data: &[u8]) -> bool {
    let suspicious = |at: usize| {
        let rest = &data[at + 1..];
        rest.starts_with(b"\"digest\"") || rest.starts_with(b"\"size\"") || rest.first().is_some_and(|b| *b <= b' ')
    };
    memchr::memchr_iter(b'{', data).any(suspicious) || memchr::memmem::find(data, b"\\u").is_some()
}

/// Reads a time in the one form that the format has.
fn time<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let Text(text) = Text::deserialize(d)?;
    let wrong = || serde::de::Error::custom("its time is not YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ");
    plain_time(text.as_bytes()).ok_or_else(wrong)
}

/// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
fn plain_time(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')];
    if text.len() != 30 || marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let small = |from: usize, to: usize| number(from, to).and_then(|n| u8::try_from(n).ok());
    let year = i32::try_from(number(0, 4)?).ok()?;
    let date = time::Date::from_calendar_date(year, small(5, 7)?.try_into().ok()?, small(8, 10)?).ok()?;
    let moment = date.with_hms_nano(small(11, 13)?, small(14, 16)?, small(17, 19)?, number(20, 29)?).ok()?;
    i64::try_from(moment.assume_utc().unix_timestamp_nanos()).ok().map(Timestamp)
}

fn collect(value: &Value, found: &mut Vec<BlobRef>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, found)),
        Value::Object(members)
            if members.len() == 2 && members.contains_key("digest") && members.contains_key("size") =>
        {
            found.push(serde_json::from_value(value.clone()).map_err(|e| format!("not a blob's name: {e}"))?);
            Ok(())
        }
        Value::Object(members) => members.values().try_for_each(|member| collect(member, found)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_nested_blobs_are_read() {
        let digest = "ab".repeat(32);
        let line = format!(
            r#"{{"seq":1,"time":"2026-11-24T13:40:01.000000000Z","kind":"n\u0065w","data":{{"a":[{{"x":{{"siz\u0065":3,"digest":"{digest}"}}}}]}},"more":1}}"#
        );
        let skeleton = Skeleton::parse(line.as_bytes()).unwrap();
        assert_eq!(skeleton.kind, "new");
        assert_eq!(skeleton.blobs().unwrap().len(), 1);
        for (data, blobs) in [
            (format!(r#"{{"text":{{"digest":"{digest}","size":3}}}}"#), 1),
            (format!(r#"{{"text":{{"size":3,"digest":"{digest}"}}}}"#), 1),
            (format!(r#"{{"text":{{ "size":3,"digest":"{digest}"}}}}"#), 1),
            (format!(r#"{{"after":{{"kind":"file","size":3,"digest":"{digest}"}}}}"#), 0),
        ] {
            let line = format!(r#"{{"seq":1,"time":"2026-11-24T13:40:01.000000000Z","kind":"new","data":{data}}}"#);
            assert_eq!(Skeleton::parse(line.as_bytes()).unwrap().blobs().unwrap().len(), blobs, "{data}");
        }
    }

    #[test]
    fn times_read_as_everywhere() {
        for text in [
            "2026-11-24T13:40:01.123456789Z",
            "1969-12-31T23:59:59.999999999Z",
            "2024-02-29T00:00:00.000000000Z",
            "2026-11-24T13:40:01Z",
            "2026-11-24T13:40:01.123456789+02:00",
            "2023-02-29T00:00:00.000000000Z",
            "2026-13-24T13:40:01.123456789Z",
            "2026-11-24T24:40:01.123456789Z",
            "2026-11-24T13:40:01.12345678xZ",
            "9999-11-24T13:40:01.123456789Z",
            "",
        ] {
            let quoted = format!("\"{text}\"");
            let ours = time(&mut serde_json::Deserializer::from_str(&quoted)).ok();
            // Of the forms that `Timestamp` reads, the one that it writes.
            let reference = serde_json::from_str::<Timestamp>(&quoted).ok().filter(|time| time.to_string() == text);
            assert_eq!(ours, reference, "{text}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let time = r#""time":"2026-11-24T13:40:01.000000000Z""#;
        for line in [
            String::new(),
            "{}".into(),
            "null".into(),
            format!(r#"{{"seq":1,"seq":2,{time},"kind":"a","data":{{}}}}"#),
            format!(r#"{{"seq":-1,{time},"kind":"a","data":{{}}}}"#),
            format!(r#"{{"seq":1,{time},"kind":"a","data":{{}}}} x"#),
            format!(r#"{{"seq":1,{time},"kind":"a"}}"#),
            r#"{"seq":1,"time":"yesterday","kind":"a","data":{}}"#.into(),
        ] {
            assert!(Skeleton::parse(line.as_bytes()).is_err(), "{line}");
        }
        let line = format!(r#"{{"seq":1,{time},"kind":"a","data":{{"x":{{"size":"7","digest":1}}}}}}"#);
        assert!(Skeleton::parse(line.as_bytes()).unwrap().blobs().is_err());
        let line = format!(r#"{{"seq":1,{time},"kind":"a","data":[]}}"#);
        assert!(Skeleton::parse(line.as_bytes()).is_err());
    }
}
