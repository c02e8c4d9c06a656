//! Values of the configuration of package clients.

use std::path::PathBuf;

use configparser::ini::{Ini, IniDefault};
use serde::Deserialize;

use crate::plan::Host;
use crate::plan::toolchains::read_configuration;

/// A place where a client is configured. `data/registries.toml` says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setting {
    env: Option<String>,
    file: Option<String>,
    format: Option<Format>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    sparse: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Ini,
    Toml,
}

/// A registry's URL and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) url: String,
    /// The file; none where a variable or nothing says it.
    pub(super) file: Option<PathBuf>,
    /// Its line there, from 1; 0 where there is none.
    pub(super) line: u32,
    /// Whether nothing is configured.
    pub(super) usual: bool,
}

impl Setting {
    /// Whether it counts beside others.
    pub(super) fn is_more(&self) -> bool {
        self.more
    }

    /// What it says on this host, in order, which may be that there is none (`off`); `None` where it says nothing or cannot
    /// be read.
    pub(super) fn values(&self, host: &Host) -> Option<Vec<Found>> {
        let (text, file, values) = match (&self.env, &self.file) {
            (Some(name), _) => (String::new(), None, Vec::from_iter(text_of(host, name))),
            (None, Some(file)) => {
                let path = path(host, file)?;
                let text = String::from_utf8(read_configuration(&path)?).ok()?;
                let values = match self.format {
                    Some(Format::Toml) => in_toml(&text, &self.keys),
                    Some(Format::Ini) | None => in_ini(&text, &self.keys),
                };
                (text, Some(path), values)
            }
            (None, None) => return None,
        };
        let mut all = Vec::new();
        for written in values.iter().flat_map(|value| value.split([',', '|']).flat_map(str::split_whitespace)) {
            let line = text.lines().position(|line| line.contains(written)).map_or(0, |at| at + 1);
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let url = expanded(host, written);
            if !matches!(url.as_str(), "direct" | "off" | "none") {
                all.push(Found { url: self.url(&url), file: file.clone(), line, usual: false });
            }
        }
        (!values.is_empty()).then_some(all)
    }

    /// A value as a URL.
    fn url(&self, value: &str) -> String {
        match (value.strip_prefix("sparse+"), self.sparse) {
            (Some(index), _) => index.to_owned(),
            (None, true) => format!("git+{value}"),
            // `NAME`, `NAME+KEY` or `NAME+KEY URL`: a checksum database.
            (None, false) if !value.contains("://") => {
                format!("https://{}", value.split('+').next().unwrap_or_default())
            }
            (None, false) => value.to_owned(),
        }
    }
}

fn text_of(host: &Host, name: &str) -> Option<String> {
    host.var(name).and_then(|value| String::from_utf8(value.0.clone()).ok()).filter(|value| !value.trim().is_empty())
}

/// Where a file of the table lies on this host; `None` where a variable that it needs is not set.
fn path(host: &Host, file: &str) -> Option<PathBuf> {
    if let Some(inner) = file.strip_prefix("~/") {
        return Some(host.home.join(inner));
    }
    let Some(named) = file.strip_prefix('$') else { return Some(file.into()) };
    let (name, inner) = named.split_once('/').unwrap_or((named, ""));
    let base = host.var(name)?.as_path().to_owned();
    Some(if inner.is_empty() { base } else { base.join(inner) }).filter(|path| path.is_absolute())
}

/// `${NAME}` replaced by the person's variable, as npm and pip do; one that is not set stays.
fn expanded(host: &Host, value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&text_of(host, name).unwrap_or_else(|| format!("${{{name}}}")));
        rest = tail;
    }
    out + rest
}

/// The values of keys in every section, in the order of the keys.
fn in_ini(text: &str, keys: &[String]) -> Vec<String> {
    let mut defaults = IniDefault::default();
    // `//host/:_authToken=…` and `@scope:registry=…` hold colons in their keys.
    defaults.delimiters = vec!['='];
    defaults.case_sensitive = true;
    defaults.multiline = true;
    let mut ini = Ini::new_from_defaults(defaults);
    let Ok(sections) = ini.read(text.to_owned()) else { return Vec::new() };
    let mut values: Vec<(&String, String)> = Vec::new();
    for (name, value) in sections.values().flatten() {
        if let (true, Some(value)) = (keys.iter().any(|key| alike(key, name)), value) {
            values.push((name, value.trim().trim_matches('"').to_owned()));
        }
    }
    values.sort();
    values.into_iter().map(|(_, value)| value).collect()
}

/// The texts at keys, in the order of the file's tables.
fn in_toml(text: &str, keys: &[String]) -> Vec<String> {
    let Ok(table) = text.parse::<toml::Table>().map(toml::Value::Table) else { return Vec::new() };
    let mut values = Vec::new();
    for key in keys {
        let names: Vec<&str> = key.split('.').collect();
        at(&table, &names, &mut values);
    }
    values
}

fn at(value: &toml::Value, names: &[&str], values: &mut Vec<String>) {
    match (value, names) {
        (toml::Value::String(text), []) => values.push(text.clone()),
        (toml::Value::Array(items), names) => items.iter().for_each(|item| at(item, names, values)),
        (toml::Value::Table(table), [name, rest @ ..]) => {
            table.iter().filter(|(key, _)| alike(name, key)).for_each(|(_, value)| at(value, rest, values));
        }
        _ => {}
    }
}

/// Whether a name is a pattern's, in which one `*` stands for anything.
fn alike(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
    }
}
