//! What is wrong with a policy file, and how it is shown: the file, line and column, the line itself, and a caret.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use toml::de::DeTable;

use crate::schema::nearest;
use crate::source::Source;

/// Most errors of one file that are shown in full.
pub const MOST_SHOWN: usize = 100;

/// What kind of error it is; `docs/policy.md` explains each under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Not TOML.
    Syntax,
    /// A key that this version does not know.
    UnknownKey,
    /// A word that is none of those which may stand there.
    UnknownValue,
    /// A number where text belongs, and the like.
    WrongType,
    /// Something required is not there.
    Missing,
    /// A text or list with nothing in it.
    Empty,
    /// The file is written for another version.
    Version,
    /// No host that a rule can be about.
    Host,
    /// No port.
    Port,
    /// No pattern for paths.
    Path,
    /// No name for a rule, or one that another rule has.
    Name,
    /// No address and no range of addresses.
    Address,
    /// No point in time.
    Expiry,
    /// Two keys of a rule that cannot both be.
    Contradiction,
    /// Something that does not belong into this layer's file.
    Layer,
    /// No field of a request that can carry a credential.
    Header,
    /// No place that a credential's value can come from.
    Source,
    /// No length of time.
    Lifetime,
    /// No name or pattern of models, and no route between them.
    Model,
    /// No amount that can be a budget.
    Amount,
}

impl Class {
    /// All of them.
    pub const ALL: &'static [Class] = &[
        Class::Syntax,
        Class::UnknownKey,
        Class::UnknownValue,
        Class::WrongType,
        Class::Missing,
        Class::Empty,
        Class::Version,
        Class::Host,
        Class::Port,
        Class::Path,
        Class::Name,
        Class::Address,
        Class::Expiry,
        Class::Contradiction,
        Class::Layer,
        Class::Header,
        Class::Source,
        Class::Lifetime,
        Class::Model,
        Class::Amount,
    ];

    /// Its name in messages and in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Syntax => "syntax",
            Class::UnknownKey => "unknown-key",
            Class::UnknownValue => "unknown-value",
            Class::WrongType => "wrong-type",
            Class::Missing => "missing",
            Class::Empty => "empty",
            Class::Version => "version",
            Class::Host => "host",
            Class::Port => "port",
            Class::Path => "path",
            Class::Name => "name",
            Class::Address => "address",
            Class::Expiry => "expiry",
            Class::Contradiction => "contradiction",
            Class::Layer => "layer",
            Class::Header => "header",
            Class::Source => "source",
            Class::Lifetime => "lifetime",
            Class::Model => "model",
            Class::Amount => "amount",
        }
    }
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub class: Class,
    /// What is wrong; holds words of the file as they stand there.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// What to say at the caret.
    pub label: String,
    /// Another place that has to do with it, and what to say there.
    pub other: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(class: Class, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { class, message: message.into(), span, label: String::new(), other: None, help: None }
    }

    /// What a reader of TOML by types says of a text; it finds one error at a time.
    pub fn of_toml(source: &Source, error: &toml::de::Error) -> Diagnostic {
        let end = source.text.len();
        let span = error.span().unwrap_or(0..0);
        let span = span.start.min(end)..span.end.min(end);
        let message = error.message().lines().next().unwrap_or_default();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let class = match message {
            m if m.starts_with("unknown field") => Class::UnknownKey,
            m if m.starts_with("unknown variant") => Class::UnknownValue,
            m if m.starts_with("missing field") => Class::Missing,
            m if m.starts_with("invalid type") => Class::WrongType,
            _ => match DeTable::parse(&source.text) {
                Ok(_) => Class::UnknownValue,
                Err(_) => Class::Syntax,
            },
        };
        let label = match (class, quoted.split_first()) {
            (Class::UnknownKey | Class::UnknownValue, Some((word, known))) => {
                nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
            }
            _ => None,
        };
        Diagnostic::new(class, span, message).label(label.unwrap_or_else(|| "here".to_owned()))
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn other(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }
}

/// How errors are shown.
#[derive(Clone, Copy)]
pub struct Style {
    /// With colours (ECMA-48).
    pub colour: bool,
    /// Writes out what acts on a terminal or hides from the eye, and leaves the rest as it is.
    pub safe: fn(&[u8]) -> String,
}

/// The errors of one file, as rustc shows them.
pub fn render(source: &Source, diagnostics: &[Diagnostic], style: Style) -> String {
    let renderer = if style.colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(MOST_SHOWN) {
        out.push_str(&renderer.render(&[group(source, diagnostic, style)]));
        out.push_str("\n\n");
    }
    if diagnostics.len() > MOST_SHOWN {
        out.push_str(&format!("… and {} more errors\n\n", diagnostics.len() - MOST_SHOWN));
    }
    out
}

fn group<'a>(source: &'a Source, diagnostic: &Diagnostic, style: Style) -> Group<'a> {
    let safe = |text: &str| (style.safe)(text.as_bytes());
    let path = (style.safe)(source.path.as_os_str().as_encoded_bytes());
    let mut group = Level::ERROR.primary_title(safe(&diagnostic.message)).id(diagnostic.class.as_str()).element(
        snippet(source, &diagnostic.span, &diagnostic.label, AnnotationKind::Primary, style).path(path.clone()),
    );
    if let Some((span, label)) = &diagnostic.other {
        group = group.element(snippet(source, span, label, AnnotationKind::Context, style).path(path));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(safe(help)));
    }
    group
}

/// The line of a span and the caret under it. Only that line is handed on: how long it takes to show an error does not
/// depend on the file's length.
fn snippet<'a>(
    source: &'a Source,
    span: &Range<usize>,
    label: &str,
    kind: AnnotationKind,
    style: Style,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let (_, line, within) = source.first_line_of(span);
    // One character for one, as rustc does it, so that the column stays right.
    let shown = |text: &str| -> String {
        text.chars()
            .map(|c| match c {
                '\t' => c,
                c if (style.safe)(c.encode_utf8(&mut [0; 4]).as_bytes()).chars().eq([c]) => c,
                _ => char::REPLACEMENT_CHARACTER,
            })
            .collect()
    };
    let (before, at, after) = (shown(&line[..within.start]), shown(&line[within.clone()]), shown(&line[within.end..]));
    let caret = before.len()..before.len() + at.len();
    let mut annotation = kind.span(caret);
    if !label.is_empty() {
        annotation = annotation.label((style.safe)(label.as_bytes()));
    }
    let number = usize::try_from(source.position(span.start).line).unwrap_or(usize::MAX);
    Snippet::source(format!("{before}{at}{after}")).line_start(number).annotation(annotation)
}
