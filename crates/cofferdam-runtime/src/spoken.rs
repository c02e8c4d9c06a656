//! What a person asks through an editor, which speaks to an agent on its standard input: lines of JSON of
//! the Agent Client Protocol (<https://agentclientprotocol.com>, `session/prompt`), of Codex's app server (`turn/start`, `turn/steer`),
//! and of Claude Code's `--input-format stream-json` (messages of the type `user`).

use serde::Deserialize;
use serde_json::Value;

/// Most bytes of a line that is looked at; a longer one passes without being a prompt.
const LONGEST: usize = 4 << 20;

/// Reads lines on their way to an agent.
#[derive(Debug, Default)]
pub struct Spoken {
    state: State,
    line: Vec<u8>,
    /// The line under way is longer than [`LONGEST`].
    beyond: bool,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// Nothing was seen yet.
    #[default]
    Beginning,
    /// Messages.
    Messages,
    /// Something else: text for the agent.
    Text,
}

/// A message, as far as it says what a person asks.
#[derive(Deserialize)]
struct Message {
    method: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    params: Option<Params>,
    message: Option<Said>,
}

#[derive(Deserialize)]
struct Params {
    /// Of `session/prompt`.
    prompt: Option<Value>,
    /// Of `turn/start`.
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Value>,
}

impl Spoken {
    /// Whether what comes are messages; `None` while that is open: then the line that tells has not ended.
    pub fn is_messages(&self) -> Option<bool> {
        match self.state {
            State::Beginning => None,
            State::Messages => Some(true),
            State::Text => Some(false),
        }
    }

    /// Takes a piece of the input; the prompts of the messages that it ends.
    pub fn push(&mut self, mut piece: &[u8]) -> Vec<String> {
        let mut prompts = Vec::new();
        while self.state != State::Text {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.keep(piece);
                break;
            };
            self.keep(&piece[..end]);
            piece = &piece[end + 1..];
            self.ended(&mut prompts);
        }
        prompts
    }

    /// The input is over; the prompt of a last message without an end of line.
    pub fn end(&mut self) -> Vec<String> {
        let mut prompts = Vec::new();
        if self.state != State::Text && !self.line.is_empty() {
            self.ended(&mut prompts);
        }
        prompts
    }

    fn keep(&mut self, part: &[u8]) {
        self.beyond |= self.line.len() + part.len() > LONGEST;
        if !self.beyond {
            self.line.extend_from_slice(part);
        }
        let first = self.line.iter().find(|byte| !byte.is_ascii_whitespace());
        if self.state == State::Beginning && (self.beyond || first.is_some_and(|byte| *byte != b'{')) {
            self.state = State::Text;
            self.line = Vec::new();
        }
    }

    fn ended(&mut self, prompts: &mut Vec<String>) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.beyond) || line.trim_ascii().is_empty() {
            return;
        }
        let message = serde_json::from_slice::<Message>(&line).ok();
        if self.state == State::Beginning {
            let is_one = message.as_ref().is_some_and(|m| m.method.is_some() || m.kind.is_some());
            self.state = if is_one { State::Messages } else { State::Text };
        }
        prompts.extend(message.and_then(Message::prompt));
    }
}

impl Message {
    fn prompt(self) -> Option<String> {
        let params = self.params;
        let content = match (self.method.as_deref(), self.kind.as_deref()) {
            (Some("session/prompt"), _) => params?.prompt?,
            (Some("turn/start" | "turn/steer"), _) => params?.input?,
            (None, Some("user")) => self.message?.content?,
            _ => return None,
        };
        let text = text(&content);
        (!text.trim().is_empty()).then_some(text)
    }
}

/// The texts of a message's content, a line each; of what is attached its address.
fn text(content: &Value) -> String {
    let part = |part: &Value| {
        let of = |name: &str| part.get(name).and_then(Value::as_str).map(str::to_owned);
        of("text").or_else(|| of("uri")).or_else(|| of("path"))
    };
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACP: &str = concat!(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/p","mcpServers":[]}}"#,
        "\r\n",
        r#"{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"s","prompt":[{"type":"text","text":"mend \"it\""},{"type":"resource_link","uri":"file:///p/a.rs","name":"a.rs"}]}}"#,
        "\n\n",
        r#"{"jsonrpc":"2.0","id":7,"result":{"outcome":"allowed"}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":3,"method":"session/prompt","params":{"sessionId":"s","prompt":[{"type":"text","text":"and test"}]}}"#,
    );

    fn spoken(input: &[u8], size: usize) -> (Option<bool>, Vec<String>) {
        let mut spoken = Spoken::default();
        let mut prompts: Vec<String> = input.chunks(size).flat_map(|piece| spoken.push(piece)).collect();
        prompts.extend(spoken.end());
        (spoken.is_messages(), prompts)
    }

    #[test]
    fn prompts_of_editors_are_found_however_the_input_is_cut() {
        for size in [1, 2, 7, 64, 10_000] {
            let (messages, prompts) = spoken(ACP.as_bytes(), size);
            assert_eq!(messages, Some(true));
            assert_eq!(prompts, ["mend \"it\"\nfile:///p/a.rs", "and test"], "by {size}");
        }
    }

    #[test]
    fn each_protocol_has_its_own_form() {
        for (line, prompt) in [
            (r#"{"type":"user","message":{"role":"user","content":"fix it"}}"#, Some("fix it")),
            (
                r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"fix it"}]}}"#,
                Some("fix it"),
            ),
            (
                r#"{"method":"turn/start","id":3,"params":{"threadId":"t","input":[{"type":"text","text":"fix it"}]}}"#,
                Some("fix it"),
            ),
            (r#"{"method":"thread/start","id":2,"params":{"model":"m"}}"#, None),
            (r#"{"type":"control_request","request":{"subtype":"initialize"}}"#, None),
            (r#"{"method":"session/prompt","params":{"prompt":[]}}"#, None),
            (r#"{"method":"session/prompt","params":[1]}"#, None),
        ] {
            let (messages, prompts) = spoken(format!("{line}\n").as_bytes(), 5);
            assert_eq!(prompts.first().map(String::as_str), prompt, "{line}");
            // What does not read is no message, and then it is text.
            assert_eq!(messages, Some(!line.contains("[1]")), "{line}");
        }
    }

    #[test]
    fn text_is_no_message() {
        for text in ["mend the test", "  why {x}?", "{not json\n", "{\"a\": 1}\n", "[1]\n", "\u{0}\u{ff}"] {
            assert_eq!(spoken(text.as_bytes(), 3), (Some(false), Vec::new()), "{text:?}");
        }
        assert_eq!(spoken(b"", 1), (None, Vec::new()));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut spoken = Spoken::default();
        spoken.push(b"{\"method\":\"initialize\"}\n{\"method\":\"session/prompt\",\"x\":\"");
        for _ in 0..100 {
            assert!(spoken.push(&[b'x'; 1 << 16]).is_empty());
        }
        assert!(spoken.line.len() <= LONGEST);
        assert!(spoken.push(b"\"}\n").is_empty());
        let next = r#"{"method":"session/prompt","params":{"prompt":[{"text":"next"}]}}"#;
        assert_eq!(spoken.push(format!("{next}\n").as_bytes()), ["next"]);
    }
}
