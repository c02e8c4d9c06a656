//! Another model, fewer tools: what is changed in a request, while all else of it stays as it stands, byte for byte.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Heard;
use super::json::place;

/// The body in pieces, with the model replaced, where another one is given, and without these tools; `None` where nothing
/// of it changes.
pub(crate) fn rewritten(
    body: &Bytes,
    text: &str,
    heard: &Heard<'_>,
    model: Option<&str>,
    without: &[String],
) -> Option<Vec<Bytes>> {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    if let (Some(model), Some(at)) = (model, heard.model_at) {
        edits.push((place(text, at.get()), serde_json::Value::from(model).to_string()));
    }
    let is_out = |name: &str| without.iter().any(|out| out == name);
    let left = heard.tools.iter().flat_map(|list| &list.each).any(|(name, _)| !is_out(name));
    if heard.names().any(is_out) {
        if left || heard.with_tools.is_empty() {
            for list in heard.tools.iter().filter(|list| list.each.iter().any(|(name, _)| is_out(name))) {
                let kept = list.each.iter().filter(|(name, _)| !is_out(name)).map(|(_, tool)| tool.get());
                edits.push((place(text, list.at.get()), format!("[{}]", kept.collect::<Vec<_>>().join(","))));
            }
            let choice = heard.choice.as_ref().filter(|(name, _)| is_out(name)).map(|(_, at)| *at);
            edits.extend(without_members(text, &heard.members, choice.as_slice()).map(|at| (at, String::new())));
        } else {
            edits.extend(without_members(text, &heard.members, &heard.with_tools).map(|at| (at, String::new())));
        }
    }
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|(at, _)| at.start);
    let (mut pieces, mut from) = (Vec::new(), 0);
    for (at, with) in edits {
        pieces.push(body.slice(from..at.start));
        pieces.push(with.into());
        from = at.end;
    }
    pieces.push(body.slice(from..));
    pieces.retain(|piece| !piece.is_empty());
    Some(pieces)
}

/// What has to go so that an object with these members, in their order, is one without some of them.
fn without_members<'b>(
    text: &'b str,
    members: &'b [&'b RawValue],
    out: &'b [&'b RawValue],
) -> impl Iterator<Item = Range<usize>> + 'b {
    let is_out = |value: &RawValue| out.iter().any(|out| std::ptr::eq(out.get(), value.get()));
    let last_left = members.iter().rposition(|value| !is_out(value));
    members.iter().enumerate().filter(move |(_, value)| is_out(value)).map(move |(at, value)| {
        let value = place(text, value.get());
        match at.checked_sub(1) {
            // With the comma behind it.
            _ if last_left > Some(at) => name_of(text, value.start)..value.end + comma(&text[value.end..]),
            // None is left behind it: with the comma before it.
            Some(before) => place(text, members[before].get()).end..value.end,
            None => name_of(text, value.start)..value.end,
        }
    })
}

/// Bytes up to behind the comma that comes next.
fn comma(text: &str) -> usize {
    text.find(',').map_or(0, |at| at + 1)
}

/// Where the name of the member begins whose value begins there.
fn name_of(text: &str, value: usize) -> usize {
    let bytes = text.as_bytes();
    let mut start =
        text[..value].trim_end_matches(|c: char| c.is_ascii_whitespace() || c == ':').len().saturating_sub(1);
    // Within the name: back to a quote before which no odd number of backslashes stands.
    while start > 0 {
        start -= 1;
        let slashes = bytes[..start].iter().rev().take_while(|byte| **byte == b'\\').count();
        if bytes[start] == b'"' && slashes % 2 == 0 {
            break;
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::super::json::Object;
    use super::super::route::recognise;
    use super::*;

    fn changed(body: &'static str, model: Option<&str>, without: &[&str]) -> Option<String> {
        let route = recognise(&http::Method::POST, "/v1/messages").unwrap();
        let object = Object::parse(body).unwrap();
        let heard = super::super::hear(&route, &object).unwrap().unwrap();
        let without: Vec<String> = without.iter().map(|name| (*name).to_owned()).collect();
        let pieces = rewritten(&Bytes::from_static(body.as_bytes()), body, &heard, model, &without)?;
        Some(String::from_utf8(pieces.concat()).unwrap())
    }

    #[test]
    fn only_what_changes_changes() {
        let body = r#"{ "x":1.0e2, "model" : "a", "tools":[{"name":"A","z":1}, {"name":"B"}],"messages":[], "y":{"model":"a"}}"#;
        assert_eq!(
            changed(body, Some("b\""), &["B", "C"]).unwrap(),
            r#"{ "x":1.0e2, "model" : "b\"", "tools":[{"name":"A","z":1}],"messages":[], "y":{"model":"a"}}"#
        );
        assert_eq!(changed(body, None, &["C"]), None);
        assert_eq!(changed(body, None, &[]), None);
    }

    #[test]
    fn where_no_tool_is_left_nothing_speaks_of_tools() {
        let body = r#"{"tools":[{"name":"A"}],"model":"m","messages":[],"tool_choice":{"type":"tool","name":"A"}}"#;
        assert_eq!(changed(body, None, &["A"]).unwrap(), r#"{"model":"m","messages":[]}"#);
        let body =
            r#"{"model":"m","messages":[], "tool\"_choice":1,"tools" : [{"name":"A"}] , "tool_choice":{"name":"A"} }"#;
        let left = changed(body, None, &["A"]).unwrap();
        let left: serde_json::Value = serde_json::from_str(&left).unwrap();
        assert_eq!(left, serde_json::json!({"model": "m", "messages": [], "tool\"_choice": 1}));
    }

    #[test]
    fn a_tool_that_is_out_need_not_be_used() {
        let body = r#"{"model":"m","messages":[],"tools":[{"name":"A"},{"name":"B"}],"tool_choice":{"type":"tool","name":"A"}}"#;
        assert_eq!(changed(body, None, &["A"]).unwrap(), r#"{"model":"m","messages":[],"tools":[{"name":"B"}]}"#);
        assert!(changed(body, None, &["B"]).unwrap().contains("tool_choice"));
    }
}
