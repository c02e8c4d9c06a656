//! Configuration without its secrets.
//!
//! What is a secret is told by the names of keys, by values that the person's environment holds, by shapes that issuers give to
//! credentials, and by passwords in URLs. What cannot be read stays outside as a whole.

use cofferdam_evidence::Striker;
use cofferdam_models::profile::Format;
use serde_json::{Map, Value};

use crate::gateway::shapes;
use crate::secrets::{names_secret, url_password};

/// A table of headers may carry a credential under any name.
const HEADERS: &[&str] = &["headers", "http_headers", "customHeaders"];
/// How the TOML crate writes a date into another format.
const DATE: &str = "$__toml_private_datetime";

/// What of a file comes in.
pub(super) struct Cleaner<'a> {
    /// The person's secrets.
    pub(super) secrets: &'a Striker,
    /// The keys that come in; all, where none is named.
    pub(super) keep: &'a [String],
    /// Keys that stay outside, `a.b` within a table.
    pub(super) drop: Vec<&'a str>,
    /// Keys that hold no secret, though their names sound like it.
    pub(super) plain: &'a [String],
}

/// What came of a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Cleaned {
    /// Its keys; none of prose and YAML.
    pub(super) keys: Map<String, Value>,
    /// Its text, of prose and YAML.
    pub(super) text: Vec<u8>,
    /// What the profile leaves outside.
    pub(super) dropped: Vec<String>,
    /// What stayed outside because it is secret.
    pub(super) secret: Vec<String>,
}

impl Cleaner<'_> {
    /// Cleans a text.
    ///
    /// # Errors
    /// Why nothing of it comes in.
    pub(super) fn clean(&self, format: Format, text: &[u8]) -> Result<Cleaned, &'static str> {
        let mut cleaned = Cleaned::default();
        match format {
            Format::Text => {
                if self.is_secret(text) || std::str::from_utf8(text).is_ok_and(|text| text.lines().any(assigns_secret))
                {
                    return Err("it holds a secret");
                }
                cleaned.text = text.to_vec();
            }
            Format::Yaml => self.yaml(text, &mut cleaned)?,
            Format::Json => {
                let read = serde_json::from_slice(text).map_err(|_| "it does not read as JSON")?;
                self.keys(read, &mut cleaned)?;
            }
            Format::Toml => {
                let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text")?;
                let table: toml::Table = text.parse().map_err(|_| "it does not read as TOML")?;
                let read = serde_json::to_value(table).map_err(|_| "it does not read as TOML")?;
                self.keys(read, &mut cleaned)?;
            }
        }
        Ok(cleaned)
    }

    fn keys(&self, read: Value, cleaned: &mut Cleaned) -> Result<(), &'static str> {
        let Value::Object(mut table) = read else { return Err("it is no table") };
        if !self.keep.is_empty() {
            let names: Vec<String> = table.keys().filter(|key| !self.keep.contains(key)).cloned().collect();
            names.iter().for_each(|name| drop(table.remove(name)));
            cleaned.dropped.extend(names);
        }
        for path in &self.drop {
            if removed(&mut table, path) {
                cleaned.dropped.push((*path).to_owned());
            }
        }
        self.table(&mut table, "", &mut cleaned.secret);
        cleaned.keys = table;
        Ok(())
    }

    fn table(&self, table: &mut Map<String, Value>, above: &str, dropped: &mut Vec<String>) {
        table.retain(|key, value| {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            let stays = key == DATE
                || self.is_secret(key.as_bytes())
                || HEADERS.contains(&key.as_str())
                || key_is_secret(key) && holds_text(value) && !self.plain.contains(&path);
            if stays || !self.value(value, &path, dropped) {
                dropped.push(path);
                return false;
            }
            true
        });
    }

    /// Cleans a value; `false` where it stays outside itself.
    fn value(&self, value: &mut Value, path: &str, dropped: &mut Vec<String>) -> bool {
        match value {
            Value::String(text) => !self.is_secret(text.as_bytes()),
            Value::Array(items) => {
                let before = items.len();
                let mut next = false; // whether the word before was an option for a secret
                items.retain_mut(|item| {
                    let option = match &*item {
                        Value::String(word) if word.starts_with('-') => {
                            let (name, value) =
                                word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
                            key_is_secret(name.trim_start_matches('-')).then_some(value.is_some())
                        }
                        _ => None,
                    };
                    let takes = std::mem::replace(&mut next, option == Some(false));
                    let stays = option.is_some() || takes && item.is_string();
                    !stays && self.value(item, path, dropped)
                });
                if items.len() < before {
                    dropped.push(format!("{path}[]"));
                }
                true
            }
            Value::Object(table) => {
                self.table(table, path, dropped);
                true
            }
            _ => true,
        }
    }

    /// A mapping in block style, key by key: what is written in another way is not read.
    fn yaml(&self, text: &[u8], cleaned: &mut Cleaned) -> Result<(), &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text")?;
        let mut entries: Vec<(&str, String)> = Vec::new();
        for line in text.lines() {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with('#') {
                continue; // comments stay outside: nobody reads them there
            }
            if let Some((key, rest)) = line.split_once(':')
                && !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && (rest.is_empty() || rest.starts_with(' '))
            {
                entries.push((key, format!("{line}\n")));
            } else if let Some((_, entry)) = entries.last_mut().filter(|_| line.starts_with([' ', '-'])) {
                entry.push_str(line);
                entry.push('\n');
            } else {
                return Err("it is not a plain mapping in YAML");
            }
        }
        for (key, entry) in entries {
            let names = self.drop.contains(&key) || !self.keep.is_empty() && !self.keep.iter().any(|own| own == key);
            // `set-env: ["NAME=value"]` and its like, and what leads to another part of the file.
            let assigns = entry.split([' ', '"', '\'', ',', '[', '\n']).any(assigns_secret);
            if names {
                cleaned.dropped.push(key.to_owned());
            } else if key_is_secret(key)
                || assigns
                || self.is_secret(entry.as_bytes())
                || entry.lines().any(assigns_secret)
            {
                cleaned.secret.push(key.to_owned());
            } else {
                cleaned.text.extend_from_slice(entry.as_bytes());
            }
        }
        Ok(())
    }

    fn is_secret(&self, text: &[u8]) -> bool {
        let in_url = text
            .split(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\''))
            .any(|word| url_password(word).is_some() || query_names_secret(word));
        in_url || matches!(shapes::look(text), shapes::Look::Found(_)) || self.secrets.find(text).is_some()
    }
}

/// Whether a URL carries a secret in its query, by the name of it (`?api_key=…`).
fn query_names_secret(word: &[u8]) -> bool {
    let word = String::from_utf8_lossy(word);
    let Some((_, query)) = word.split_once("://").and_then(|(_, rest)| rest.split_once('?')) else { return false };
    let mut pairs = query.split(['&', '#']).filter_map(|pair| pair.split_once('='));
    pairs.any(|(name, value)| {
        !value.is_empty() && variable(value).is_none() && (key_is_secret(name) || name.eq_ignore_ascii_case("key"))
    })
}

/// Takes a key out of a table, `a.b` within one.
fn removed(table: &mut Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path).is_some(),
        Some((first, rest)) => {
            table.get_mut(first).and_then(Value::as_object_mut).is_some_and(|inner| removed(inner, rest))
        }
    }
}

/// Whether a key names a secret: as a variable would, `camelCase` too.
fn key_is_secret(key: &str) -> bool {
    let mut name = String::with_capacity(key.len() + 4);
    let mut small = false;
    for c in key.chars() {
        if c.is_ascii_uppercase() && small {
            name.push('_');
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
        name.push(c);
    }
    // `primaryApiKey` too, which would be an ordinary key among variables.
    names_secret(&name) || ["API_KEY", "API-KEY"].iter().any(|end| name.to_ascii_uppercase().ends_with(end))
}

/// Whether a value holds text that is more than the name of a variable (`NAME`, `$NAME`, `{env:NAME}`).
fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && variable(text).is_none(),
        Value::Array(items) => items.iter().any(holds_text),
        Value::Object(table) => table.values().any(holds_text),
        _ => false,
    }
}

/// The variable that a text names, where it is nothing else.
pub(super) fn variable(text: &str) -> Option<&str> {
    let bare = text.strip_prefix("{env:").or_else(|| text.strip_prefix("${")).and_then(|rest| rest.strip_suffix('}'));
    let name = bare.or_else(|| text.strip_prefix('$')).unwrap_or(text);
    let fits = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit());
    (fits && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.contains('_')).then_some(name)
}

/// Whether a line gives a value to a name that says it is a secret.
fn assigns_secret(line: &str) -> bool {
    let Some((name, value)) = line.split_once(['=', ':']) else { return false };
    let name = name.trim().trim_start_matches(['-', '*', '#']).trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_matches(['`', '"', '\'', ' ']);
    let value = value.trim().trim_matches(['`', '"', '\'', ',', ';']);
    let word = value.len() >= 8 && !value.contains(char::is_whitespace) && value.bytes().any(|b| b.is_ascii_digit());
    word && !name.contains(char::is_whitespace) && key_is_secret(name) && variable(value).is_none()
}

#[cfg(test)]
mod tests {
    use cofferdam_evidence::Secrets;
    use serde_json::json;

    use super::*;

    const KNOWN: &str = "c4nary-0f-the-environment";

    fn cleaned(format: Format, keep: &[&str], drop: &[&str], text: &str) -> Result<Cleaned, &'static str> {
        let mut secrets = Secrets::default();
        secrets.add("known", KNOWN.as_bytes()).unwrap();
        let secrets = Striker::new(&secrets).unwrap();
        let keep: Vec<String> = keep.iter().map(|key| (*key).to_owned()).collect();
        Cleaner { secrets: &secrets, keep: &keep, drop: drop.to_vec(), plain: &["security.auth".to_owned()] }
            .clean(format, text.as_bytes())
    }

    #[test]
    fn json_loses_what_is_secret_and_keeps_the_rest() {
        let shaped = format!("ghp_{}", "a1B2".repeat(9));
        let text = json!({
            "theme": "dark", "primaryApiKey": "canary1", "oauthAccount": { "accessToken": "canary2", "plan": "max" },
            "env": { "ANTHROPIC_API_KEY": "canary3", "EDITOR": "vi", "PLAIN": shaped, "X": format!("a {KNOWN} b") },
            "max_tokens": 5, "sortKey": "name", "apiKey": "{env:MY_KEY}", "env_key": "OTHER_KEY",
            "mcpServers": { "x": { "command": "x", "args": ["--token", "canary4", "-v", "--api-key=canary5", "ok"],
                "headers": { "X-Whatever": "canary6" }, "url": "https://me:canary7@host/x",
                "other": "https://host/x?a=1&api_key=canary9" } },
            "dropped": { "inner": "canary8", "other": 1 }, "history": [{ "text": KNOWN }],
            "security": { "auth": { "selectedType": "api-key", "token": "canary9", "other": shaped } }, "auth": { "kind": "canary10" },
        });
        let got = cleaned(Format::Json, &[], &["dropped.inner"], &text.to_string()).unwrap();
        let out = serde_json::to_string(&got.keys).unwrap();
        assert!(!out.contains("canary") && !out.contains("ghp_") && !out.contains(KNOWN), "{out}");
        let expected = json!({
            "theme": "dark", "oauthAccount": { "plan": "max" }, "env": { "EDITOR": "vi" }, "max_tokens": 5, "sortKey": "name",
            "apiKey": "{env:MY_KEY}", "env_key": "OTHER_KEY",
            "mcpServers": { "x": { "command": "x", "args": ["-v", "ok"] } }, "dropped": { "other": 1 }, "history": [{}],
            "security": { "auth": { "selectedType": "api-key" } },
        });
        assert_eq!(Value::Object(got.keys), expected);
        for name in ["primaryApiKey", "oauthAccount.accessToken", "env.ANTHROPIC_API_KEY", "mcpServers.x.args[]"] {
            assert!(got.secret.iter().any(|own| own == name), "{name}: {:?}", got.secret);
        }
        let got = cleaned(Format::Json, &["theme"], &[], &text.to_string()).unwrap();
        assert_eq!(Value::Object(got.keys), json!({ "theme": "dark" }));
        for broken in ["{", "[]", "{ // comment\n}"] {
            assert!(cleaned(Format::Json, &[], &[], broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn toml_is_cleaned_alike() {
        let text = "model = 'x'\nwhen = 2026-01-01\n[model_providers.own]\nbase_url = 'http://h/v1'\nenv_key = 'OWN_KEY'\n\
                    experimental_bearer_token = 'canary1'\nhttp_headers = { A = 'canary2' }\n[projects.'/x']\ntrust_level = 'y'\n";
        let got = cleaned(Format::Toml, &[], &["projects"], text).unwrap();
        let expected = json!({ "model": "x", "when": {}, "model_providers": { "own": { "base_url": "http://h/v1", "env_key": "OWN_KEY" } } });
        assert_eq!(Value::Object(got.keys), expected);
        assert!(cleaned(Format::Toml, &[], &[], "x = \n").is_err());
    }

    #[test]
    fn yaml_loses_whole_entries_and_what_is_not_plain_stays_outside() {
        let text = format!(
            "# key: canary0\nmodel: sonnet\nopenai-api-key: canary1\napi-key:\n  - gemini=canary2\n  - x\nset-env:\n- A_TOKEN=canary3x9\n\
             read: [a.md, b.md]\nother: {KNOWN}\ndark-mode: true\n"
        );
        let got = cleaned(Format::Yaml, &[], &[], &text).unwrap();
        assert_eq!(String::from_utf8(got.text).unwrap(), "model: sonnet\nread: [a.md, b.md]\ndark-mode: true\n");
        assert_eq!(got.secret, ["openai-api-key", "api-key", "set-env", "other"]);
        for other in ["{a: 1}", "? a\n: b\n", "\"quoted\": 1\n", "---\na: 1\n", "&x a: 1\n"] {
            assert!(cleaned(Format::Yaml, &[], &[], other).is_err(), "{other}");
        }
    }

    #[test]
    fn prose_comes_in_whole_or_not_at_all() {
        let fine = "# Rules\n\nNever print a token. The API key: ask me. max_tokens: 4096\n";
        assert_eq!(cleaned(Format::Text, &[], &[], fine).unwrap().text, fine.as_bytes());
        for secret in
            [KNOWN, "GITHUB_TOKEN=c4narycanary", "- password: c4nary99x", "db is postgres://me:pw@host/x here"]
        {
            assert!(cleaned(Format::Text, &[], &[], &format!("a\n{secret}\nb")).is_err(), "{secret}");
        }
    }
}
