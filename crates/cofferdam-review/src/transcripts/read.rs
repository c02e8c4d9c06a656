//! The formats of transcripts: a line of JSON each.

use serde_json::Value;

/// Most bytes of a line, and most items of a file.
const LINE: usize = 8 << 20;
const ITEMS: usize = 100_000;

/// What a transcript says happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// The model asked for this.
    Call { id: String, name: String, arguments: Arguments },
    /// It was told this.
    Result { id: String, text: String },
    /// It said this.
    Said(String),
}

/// Arguments of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arguments {
    Json(Value),
    Text(String),
}

impl Arguments {
    /// JSON where it is JSON: the order of keys and blanks do not count then.
    pub(super) fn parse(text: &str) -> Arguments {
        serde_json::from_str(text).map_or_else(|_| Arguments::Text(text.trim().to_owned()), Arguments::Json)
    }

    pub(super) fn text(&self) -> String {
        match self {
            Arguments::Json(value) => value.to_string(),
            Arguments::Text(text) => text.clone(),
        }
    }
}

/// The items of a file, and how many lines do not read.
pub(super) fn read(content: &[u8]) -> (Vec<Item>, u64) {
    let (mut items, mut unread) = (Vec::new(), 0);
    for line in content.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        if items.len() >= ITEMS || line.len() > LINE {
            unread += 1;
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(value) => of_line(&value, &mut items),
            Err(_) => unread += 1,
        }
    }
    (items, unread)
}

fn of_line(line: &Value, items: &mut Vec<Item>) {
    match line.get("type").and_then(Value::as_str) {
        // Claude Code: a message as it stood in the request or the answer.
        Some("assistant" | "user") => {
            let Some(message) = line.get("message") else { return };
            let says = line.get("type").and_then(Value::as_str) == Some("assistant");
            match message.get("content") {
                Some(Value::String(text)) if says => items.push(Item::Said(text.clone())),
                Some(Value::Array(blocks)) => items.extend(blocks.iter().filter_map(|block| of_block(block, says))),
                _ => {}
            }
        }
        // Codex: an item as the Responses API has it.
        Some("response_item") => items.extend(line.get("payload").and_then(of_item)),
        // Its older sessions have the item itself.
        Some(_) => items.extend(of_item(line)),
        None => {}
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn of_block(block: &Value, says: bool) -> Option<Item> {
    match block.get("type")?.as_str()? {
        "text" if says => Some(Item::Said(text(block, "text")?)),
        "tool_use" if says => Some(Item::Call {
            id: text(block, "id")?,
            name: text(block, "name")?,
            arguments: Arguments::Json(block.get("input")?.clone()),
        }),
        "tool_result" => Some(Item::Result {
            id: text(block, "tool_use_id")?,
            text: block.get("content").map(texts).unwrap_or_default(),
        }),
        _ => None,
    }
}

fn of_item(item: &Value) -> Option<Item> {
    let id = || text(item, "call_id");
    match item.get("type")?.as_str()? {
        "message" if item.get("role").and_then(Value::as_str) == Some("assistant") => {
            Some(Item::Said(texts(item.get("content")?)))
        }
        "function_call" => Some(Item::Call {
            id: id()?,
            name: text(item, "name")?,
            arguments: Arguments::parse(item.get("arguments")?.as_str()?),
        }),
        "custom_tool_call" => Some(Item::Call {
            id: id()?,
            name: text(item, "name")?,
            arguments: Arguments::parse(item.get("input")?.as_str()?),
        }),
        "local_shell_call" => Some(Item::Call {
            id: id()?,
            name: "local_shell".to_owned(),
            arguments: Arguments::Json(item.get("action")?.clone()),
        }),
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            let output = item.get("output")?;
            // Some versions put the text one deeper.
            let inner = output.get("content").unwrap_or(output);
            Some(Item::Result { id: id()?, text: texts(inner) })
        }
        _ => None,
    }
}

/// A text, or the texts of blocks one behind the other.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_read() {
        let content = br#"{"type":"summary","summary":"x"}
{"type":"assistant","message":{"role":"assistant","content":[{"type":"thinking","thinking":"h"},{"type":"text","text":"I will"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls"}}]}}
{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}}
{"type":"user","message":{"role":"user","content":"do it"}}
{"timestamp":"x","type":"response_item","payload":{"type":"function_call","name":"shell","arguments":"{\"command\":[\"ls\"]}","call_id":"c1"}}
{"timestamp":"x","type":"response_item","payload":{"type":"function_call_output","call_id":"c1","output":"out"}}
{"type":"message","role":"assistant","content":[{"type":"output_text","text":"done"}]}
{"type":"custom_tool_call","name":"apply_patch","input":"*** Begin","call_id":"c2"}
not json
{"type":17}
[]
"#;
        let (items, unread) = read(content);
        assert_eq!(unread, 1);
        let call = |id: &str, name: &str, arguments| Item::Call { id: id.into(), name: name.into(), arguments };
        let result = |id: &str, text: &str| Item::Result { id: id.into(), text: text.into() };
        assert_eq!(
            items,
            [
                Item::Said("I will".into()),
                call("t1", "Bash", Arguments::Json(serde_json::json!({"command": "ls"}))),
                result("t1", "ab"),
                call("c1", "shell", Arguments::Json(serde_json::json!({"command": ["ls"]}))),
                result("c1", "out"),
                Item::Said("done".into()),
                call("c2", "apply_patch", Arguments::Text("*** Begin".into())),
            ]
        );
    }
}
