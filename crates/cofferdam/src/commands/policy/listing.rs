//! Rules for people and as JSON.

use std::path::Path;

use cofferdam_core::Timestamp;
use cofferdam_policy::rule::{Record, Rule, Tls};
use cofferdam_policy::{LayerKind, Scheme};
use cofferdam_review::text::fit;
use cofferdam_runtime::plan::Host;
use serde_json::{Value, json};

use crate::output;

/// Columns of a purpose.
const PURPOSE: usize = 72;

/// What the rows of a listing need to know.
pub struct Listing<'a> {
    pub now: Timestamp,
    pub project: &'a Path,
    pub host: &'a Host,
    pub colour: bool,
}

impl Listing<'_> {
    /// Rules by layer; each layer under its name and file.
    pub fn text(&self, rules: &[&Rule]) -> String {
        let mut out = String::new();
        for layer in [LayerKind::Person, LayerKind::Project, LayerKind::CommandLine, LayerKind::Resolve] {
            let own: Vec<&&Rule> = rules.iter().filter(|rule| rule.id.layer == layer).collect();
            let Some(first) = own.first() else { continue };
            // What resolves stands in the files of several clients.
            let file = first
                .id
                .file
                .as_deref()
                .filter(|_| layer != LayerKind::Resolve)
                .map(|file| super::short(file, self.project, self.host));
            let title = file.map_or_else(|| layer.to_string(), |file| format!("{layer}  {file}"));
            out.push_str(&format!("{}\n", output::styled(&title, "1", self.colour)));
            let mut table = vec![["  AT", "HOST", "PORT", "ALLOWS", "ENDS", "PURPOSE"].map(str::to_owned).to_vec()];
            for rule in own {
                table.extend(self.rows(rule));
            }
            out.push_str(&output::table(&table));
            out.push('\n');
        }
        out
    }

    fn rows(&self, rule: &Rule) -> Vec<Vec<String>> {
        let mut allows = allows(rule).into_iter();
        let ends = match &rule.expires {
            None => "-".to_owned(),
            Some(expiry) if rule.is_expired(self.now) => format!("ended {}", expiry.written),
            Some(expiry) => expiry.written.clone(),
        };
        let mut rows = vec![vec![
            format!("  {}", at(rule)),
            rule.host.to_string(),
            rule.ports(),
            allows.next().unwrap_or_default(),
            ends,
            fit(&output::visible(rule.purpose.as_bytes()), PURPOSE),
        ]];
        rows.extend(allows.map(|line| vec!["  ".to_owned(), String::new(), String::new(), line]));
        rows
    }
}

/// `policy.toml:12`, with the rule's name.
pub fn at(rule: &Rule) -> String {
    let place = match &rule.id.file {
        Some(file) => {
            let name = file.file_name().unwrap_or(file.as_os_str());
            format!("{}:{}", output::visible(name.as_encoded_bytes()), rule.id.line)
        }
        None => option(rule),
    };
    rule.id.name.as_ref().map_or_else(|| place.clone(), |name| format!("{place} {name}"))
}

/// The option that a rule of no file comes from.
fn option(rule: &Rule) -> String {
    match rule.id.layer {
        LayerKind::Resolve => "--resolve".to_owned(),
        _ => format!("--allow {}", rule.id.line),
    }
}

/// What a rule allows, a path a line.
pub fn allows(rule: &Rule) -> Vec<String> {
    let what = match (&rule.methods, rule.scheme, rule.tls) {
        (Some(methods), ..) => methods.join(", "),
        (None, Some(Scheme::Tcp), _) => "anything over TCP".to_owned(),
        (None, _, Tls::Passthrough) => "anything over TLS, unseen".to_owned(),
        (None, None, _) if rule.port.is_some() && rule.paths.is_none() => "anything over TCP".to_owned(),
        (None, ..) => "every method".to_owned(),
    };
    let scheme = match rule.scheme {
        Some(Scheme::Http) => "http ",
        _ => "",
    };
    let kept = match rule.record {
        Record::Digest => "",
        Record::Head => ", heads of bodies kept",
        Record::Full => ", bodies kept",
    };
    match &rule.paths {
        None => vec![format!("{scheme}{what}{kept}")],
        Some(paths) => {
            let (first, others) = paths.split_first().map_or(("", &paths[..]), |(first, rest)| (first.as_str(), rest));
            let mut lines = vec![format!("{scheme}{what} {first}{kept}")];
            lines.extend(others.iter().map(|path| format!("  or {}", path.as_str())));
            lines
        }
    }
}

/// Where a rule stands, for a sentence: layer, file and line, name.
pub fn place(rule: &Rule, project: &Path, host: &Host) -> String {
    let place = match &rule.id.file {
        Some(file) => format!("{}:{}", super::short(file, project, host), rule.id.line),
        None => option(rule),
    };
    let name = rule.id.name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
    format!("{place}{name} ({} layer)", rule.id.layer)
}

/// A rule's facts.
pub fn facts(rule: &Rule, now: Timestamp) -> Value {
    let mut facts = json!(rule);
    facts["expired"] = rule.is_expired(now).into();
    facts
}
