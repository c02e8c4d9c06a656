//! What of an event the tree's checks need: readable for kinds that this version does not know.

use std::borrow::Cow;

use cofferdam_core::Timestamp;
use cofferdam_core::event::BlobRef;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The outline of an event.
#[derive(Debug, Deserialize)]
pub(crate) struct Skeleton<'a> {
    pub(crate) seq: u64,
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
        serde_json::from_str(text).map_err(|e| format!("not an event: {e}"))
    }

    /// The run that `run.started` names.
    pub(crate) fn run(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Started {
            run: String,
        }
        serde_json::from_str::<Started>(self.data.get()).map(|s| s.run).map_err(|e| format!("names no run: {e}"))
    }

    /// The blobs that the event names: every member called `blob`, at any depth.
    pub(crate) fn blobs(&self) -> Result<Vec<BlobRef>, String> {
        let mut found = Vec::new();
        // Names can be written with escapes, so a line with a backslash is read as well.
        if self.data.get().contains("\"blob\"") || self.data.get().contains('\\') {
            let data = serde_json::from_str(self.data.get()).map_err(|e| format!("not an event: {e}"))?;
            collect(&data, &mut found)?;
        }
        Ok(found)
    }
}

fn collect(value: &Value, found: &mut Vec<BlobRef>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, found)),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            if name == "blob" {
                found.push(serde_json::from_value(member.clone()).map_err(|e| format!("not a blob's name: {e}"))?);
                Ok(())
            } else {
                collect(member, found)
            }
        }),
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
            r#"{{"seq":1,"time":"2026-11-24T13:40:01.000000000Z","kind":"n\u0065w","data":{{"a":[{{"bl\u006fb":{{"digest":"{digest}","size":3}}}}]}},"more":1}}"#
        );
        let skeleton = Skeleton::parse(line.as_bytes()).unwrap();
        assert_eq!(skeleton.kind, "new");
        assert_eq!(skeleton.blobs().unwrap().len(), 1);
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
        let line = format!(r#"{{"seq":1,{time},"kind":"a","data":{{"blob":7}}}}"#);
        assert!(Skeleton::parse(line.as_bytes()).unwrap().blobs().is_err());
    }
}
