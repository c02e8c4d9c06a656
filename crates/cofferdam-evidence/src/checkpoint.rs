//! A commitment to the log at one size: the text of a [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_core::RunId;
use cofferdam_core::change::Digest;

/// What an origin line starts with; the run's id follows.
const ORIGIN: &str = "cofferdam.dev/run/";
/// What our extension line starts with; a JSON object follows.
const EXTENSION: &str = "cofferdam ";

/// A checkpoint without its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `cofferdam.dev/run/<run id>`.
    pub origin: String,
    /// Leaves of the tree: lines of the log.
    pub size: u64,
    /// The tree's root at that size.
    pub root: Digest,
    /// Extension lines, as they stand.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    pub(crate) fn new(run: &RunId, size: u64, root: Digest) -> Self {
        Checkpoint { origin: format!("{ORIGIN}{run}"), size, root, extensions: Vec::new() }
    }

    /// Adds a `cofferdam <json>` line.
    pub(crate) fn with_statement(mut self, statement: &serde_json::Map<String, serde_json::Value>) -> Self {
        // JSON without white space holds no raw newline: control characters are escaped in strings.
        self.extensions.push(format!("{EXTENSION}{}", serde_json::Value::Object(statement.clone())));
        self
    }

    /// The run that the origin names.
    pub fn run(&self) -> Option<RunId> {
        self.origin.strip_prefix(ORIGIN)?.parse().ok()
    }

    /// The statement of the first `cofferdam <json>` extension line, where there is one that reads.
    pub fn statement(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let json = self.extensions.iter().find_map(|line| line.strip_prefix(EXTENSION))?;
        serde_json::from_str(json).ok()
    }

    /// The note's text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads a note's text; the error says what is wrong.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "a checkpoint is not UTF-8")?;
        let mut lines = text.strip_suffix('\n').ok_or("a checkpoint does not end in a newline")?.split('\n');
        let mut next = |what: &str| match lines.next() {
            Some(line) if !line.is_empty() => Ok(line),
            _ => Err(format!("a checkpoint has no {what}")),
        };
        let origin = next("origin")?.to_owned();
        let digits = next("size")?;
        let size: u64 = digits.parse().map_err(|_| format!("the size `{digits}` is not a number"))?;
        if size.to_string() != digits {
            return Err(format!("the size `{digits}` is not in its one decimal form"));
        }
        let root = BASE64_STANDARD
            .decode(next("root hash")?)
            .ok()
            .and_then(|raw| raw.try_into().ok())
            .map(Digest)
            .ok_or("the root hash is not base64 of 32 bytes")?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err("an extension line is empty".into());
        }
        Ok(Checkpoint { origin, size, root, extensions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint::new(&"0123456789ab".parse().unwrap(), 42, Digest([7; 32]))
    }

    #[test]
    fn a_checkpoint_reads_as_documented() {
        let text = "cofferdam.dev/run/0123456789ab\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        assert_eq!(sample().text(), text);
        assert_eq!(Checkpoint::parse(text.as_bytes()).unwrap(), sample());
        assert_eq!(sample().run().unwrap().as_str(), "0123456789ab");
    }

    #[test]
    fn extensions_are_kept_and_ours_is_read() {
        let statement = serde_json::json!({"unexplained": 0, "what": "a\nb\u{2028}\u{7f}"});
        let mut checkpoint = sample();
        checkpoint.extensions.push("other thing".into());
        let checkpoint = checkpoint.with_statement(statement.as_object().unwrap());
        let read = Checkpoint::parse(checkpoint.text().as_bytes()).unwrap();
        assert_eq!(read, checkpoint);
        assert_eq!(read.statement().as_ref(), statement.as_object());
        for unreadable in ["cofferdam {", "cofferdam 7", "cofferdam", "cofferdamn {}"] {
            let mut checkpoint = sample();
            checkpoint.extensions.push(unreadable.into());
            assert_eq!(Checkpoint::parse(checkpoint.text().as_bytes()).unwrap().statement(), None, "{unreadable}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let root = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        for text in [
            String::new(),
            "\n".into(),
            format!("o\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o\n1\n{}\n", &root[..40]),
            format!("o\n1\n{root} \n"),
            format!("o\n1\n{root}\n\n"),
            "o\n1\n".into(),
        ] {
            assert!(Checkpoint::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
