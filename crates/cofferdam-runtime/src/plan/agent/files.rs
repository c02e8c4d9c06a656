//! The files of an agent's configuration that come in.

use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::PlannedFile;
use cofferdam_evidence::Striker;
use cofferdam_models::profile::{Configuration, Format, Profile};
use serde_json::{Map, Value};

use super::clean::{Cleaned, Cleaner};
use crate::plan::project::hidden_places;
use crate::plan::{Host, toolchains};

/// Largest JSON file, in bytes: some agents keep what they remember of all projects in one.
const LARGEST_JSON: u64 = 16 << 20;
/// Largest other file, in bytes.
const LARGEST: u64 = 256 << 10;
/// Most files of a directory, most bytes of them together, and how deep they lie at the most.
const MOST_FILES: usize = 200;
const MOST_BYTES: usize = 1 << 20;
const DEEPEST: usize = 4;

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Brought {
    /// Where it lies on the host; none where it is made here.
    source: Option<PathBuf>,
    /// Below the home.
    pub(super) path: String,
    pub(super) format: Format,
    pub(super) cleaned: Cleaned,
    set: Map<String, Value>,
    merge: bool,
}

/// Reads what a profile names. What stays outside, and why, is noted.
pub(super) fn read(host: &Host, profile: &Profile, secrets: &Striker, notes: &mut Vec<String>) -> Vec<Brought> {
    let mut brought = Vec::new();
    for own in &profile.configuration {
        let source = place(host, profile, &own.path);
        let sandbox = profile.sandbox.as_ref();
        let off = sandbox.and_then(|own_sandbox| own_sandbox.drop.get(&own.path));
        let drop = own.drop.iter().chain(off.into_iter().flatten()).map(String::as_str).collect();
        let cleaner = Cleaner { secrets, keep: &own.keep, drop, plain: &own.plain };
        if own.directory {
            directory(host, own, &source, &cleaner, &mut brought, notes);
            continue;
        }
        let mut set = own.set.clone();
        if let Some(more) = sandbox.and_then(|own_sandbox| own_sandbox.set.get(&own.path)) {
            merge(&mut set, more.clone());
        }
        let most = if own.format == Format::Json { LARGEST_JSON } else { LARGEST };
        let read = content(host, &source, most).and_then(|text| match text {
            Some(text) => cleaner.clean(own.format, &text).map(Some),
            None => Ok(None),
        });
        let name = || host.short(&source).display().to_string();
        let cleaned = match read {
            Ok(cleaned) => cleaned,
            Err(why) => {
                notes.push(format!("{} stays outside: {why}", name()));
                None
            }
        };
        if let Some(cleaned) = cleaned.as_ref().filter(|cleaned| !cleaned.secret.is_empty()) {
            notes.push(format!("of {} this stays outside: {}", name(), cleaned.secret.join(", ")));
        }
        if cleaned.is_none() && set.is_empty() {
            continue;
        }
        brought.push(Brought {
            source: cleaned.is_some().then_some(source),
            path: own.path.clone(),
            format: own.format,
            cleaned: cleaned.unwrap_or_default(),
            set,
            merge: own.merge,
        });
    }
    brought
}

/// Where a path of the profile lies on this host.
fn place(host: &Host, profile: &Profile, path: &str) -> PathBuf {
    for moved in &profile.moved {
        let rest = Path::new(path).strip_prefix(&moved.from).ok();
        let directory = host.var(&moved.env).map(|value| value.as_path()).filter(|value| value.is_absolute());
        if let (Some(rest), Some(directory)) = (rest, directory) {
            let base = if moved.to.is_empty() { directory.to_owned() } else { directory.join(&moved.to) };
            return if rest.as_os_str().is_empty() { base } else { base.join(rest) };
        }
    }
    host.home.join(path)
}

/// Where a path leads, if that may be read for an agent: links are followed within the home, and never to keys.
fn followed(host: &Host, path: &Path) -> Result<Option<PathBuf>, &'static str> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err("it cannot be read"),
    };
    if !real.starts_with(&host.home) {
        return Err("it lies outside of your home");
    }
    let leads_to =
        |place: PathBuf| real.starts_with(&place) || place.canonicalize().is_ok_and(|at| real.starts_with(at));
    if hidden_places().any(|(place, _)| leads_to(host.home.join(place))) {
        return Err("it leads to keys");
    }
    Ok(Some(real))
}

fn content(host: &Host, path: &Path, most: u64) -> Result<Option<Vec<u8>>, &'static str> {
    let Some(real) = followed(host, path)? else { return Ok(None) };
    toolchains::read_up_to(&real, most).map(Some).ok_or("it is no regular file that can be read, or too large")
}

/// The text files of a directory. Links in it are not followed.
fn directory(
    host: &Host,
    own: &Configuration,
    source: &Path,
    cleaner: &Cleaner<'_>,
    brought: &mut Vec<Brought>,
    notes: &mut Vec<String>,
) {
    let name = host.short(source).display().to_string();
    let real = match followed(host, source) {
        Ok(Some(real)) => real,
        Ok(None) => return,
        Err(why) => return notes.push(format!("{name} stays outside: {why}")),
    };
    let (mut files, mut bytes) = (0, 0);
    let mut open = vec![(real, own.path.clone(), 0)];
    while let Some((at, below, depth)) = open.pop() {
        let Ok(entries) = at.read_dir() else { continue };
        let mut entries: Vec<_> = entries.flatten().take(MOST_FILES).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Some(path) = entry.file_name().to_str().map(|name| format!("{below}/{name}")) else { continue };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEEPEST => open.push((entry.path(), path, depth + 1)),
                Ok(kind) if kind.is_file() => {
                    let Some(text) = toolchains::read_up_to(&entry.path(), LARGEST) else { continue };
                    files += 1;
                    bytes += text.len();
                    if files > MOST_FILES || bytes > MOST_BYTES {
                        return notes.push(format!("of {name} only the first {} files come in", files - 1));
                    }
                    match cleaner.clean(Format::Text, &text) {
                        Ok(cleaned) => brought.push(Brought {
                            source: Some(entry.path()),
                            path,
                            format: Format::Text,
                            cleaned,
                            set: Map::new(),
                            merge: false,
                        }),
                        Err(why) => {
                            notes.push(format!("{} stays outside: {why}", host.short(&entry.path()).display()));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl Brought {
    /// As a plan has it, its variables filled in from the environment inside.
    ///
    /// # Errors
    /// Where it cannot be written in its format again.
    pub(super) fn planned(self, env: &[Bytes]) -> Result<PlannedFile, String> {
        let set = filled(Value::Object(self.set), env).and_then(|value| match value {
            Value::Object(set) => Some(set),
            _ => None,
        });
        let set = set.unwrap_or_default();
        let mut keys = self.cleaned.keys;
        let merged = self.merge && self.format == Format::Json;
        if !merged {
            merge(&mut keys, set.clone());
        }
        let content = match self.format {
            Format::Text | Format::Yaml => self.cleaned.text,
            Format::Json => serde_json::to_vec_pretty(&keys).map_err(|e| e.to_string())?,
            Format::Toml => toml::Table::try_from(&keys)
                .and_then(|table| toml::to_string(&table))
                .map_err(|e| e.to_string())?
                .into_bytes(),
        };
        Ok(PlannedFile {
            source: self.source.map(|path| path.as_path().into()),
            path: self.path.as_str().into(),
            dropped: self.cleaned.dropped.into_iter().chain(self.cleaned.secret).collect(),
            content: content.into(),
            merged: merged.then_some(set),
        })
    }
}

/// Lays one table over another, table by table.
pub(crate) fn merge(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(own)), Value::Object(more)) => merge(own, more),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// With texts that name variables (`{NAME}`, `{NAME:-20}`) as these are inside.
fn filled(value: Value, env: &[Bytes]) -> Option<Value> {
    Some(match value {
        Value::String(text) => match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            None => Value::String(text),
            Some(inner) => {
                let (name, last) = match inner.split_once(":-") {
                    Some((name, count)) => (name, count.parse().ok()?),
                    None => (inner, usize::MAX),
                };
                let set = env.iter().find_map(|set| set.0.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
                let text = std::str::from_utf8(set).ok().filter(|text| text.is_ascii())?;
                Value::String(text[text.len().saturating_sub(last)..].to_owned())
            }
        },
        Value::Array(items) => Value::Array(items.into_iter().filter_map(|item| filled(item, env)).collect()),
        Value::Object(table) => {
            Value::Object(table.into_iter().filter_map(|(key, value)| Some((key, filled(value, env)?))).collect())
        }
        other => other,
    })
}
