//! The secret values that the person's environment and configuration hold, so that no evidence keeps them.
//!
//! Found on the host's side, handed to the monitor in sealed memory, never to the enclosure and never to the store.

use std::io::Read;
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::plan::RunPlan;
use cofferdam_enclosure::open_regular;
use cofferdam_evidence::{Refused, Secrets};
use cofferdam_policy::{Credential, CredentialSource};
use serde::Deserialize;

use crate::plan::{Host, clean_configuration};

/// Most bytes that are read of a configuration file.
const MAX_CONFIGURATION: u64 = 1 << 20;

/// A word of a variable's name (between what is no letter or digit) that says that its value is a secret.
const WORDS: &[&str] = &[
    "SECRETS",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "JWT",
    "PAT",
    "DSN",
    "WEBHOOK",
];

/// Ends of such words: `PGPASSWORD`, `authToken`.
const ENDS: &[&str] = &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "APIKEY", "ACCESSKEY", "SECRETKEY", "PRIVATEKEY"];

/// Last words of a name that make the value a place, a name or a setting instead.
const SETTINGS: &[&str] = &[
    "FILE",
    "FILES",
    "PATH",
    "DIR",
    "DIRECTORY",
    "HOME",
    "SOCK",
    "SOCKET",
    "NAME",
    "USER",
    "USERNAME",
    "HOST",
    "PORT",
    "HELPER",
    "COMMAND",
    "CMD",
    "PROVIDER",
    "METHOD",
    "TYPE",
    "MODE",
    "TTL",
    "EXPIRY",
    "EXPIRES",
    "TIMEOUT",
    "LENGTH",
    "ENABLED",
    "STORE",
    "REGION",
    "SCOPE",
    "SCOPES",
    "ENDPOINT",
    "PUBLIC",
];

/// Words before `KEY` that make it another kind of key.
const ORDINARY_KEYS: &[&str] = &["PUBLIC", "SORT", "PRIMARY", "PARTITION", "FOREIGN", "CACHE", "HOT", "COMPOSE"];

/// Names with a word of these that are no secrets.
const NEITHER: &[&str] = &["PWD", "OLDPWD"];

/// What was found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The values that will be struck out.
    pub secrets: Secrets,
    /// Names whose values cannot be struck out, with the reason.
    pub refused: Vec<(String, Refused)>,
}

/// The secrets of the person's environment and toolchain configuration.
pub fn of_host(host: &Host) -> Gathered {
    let mut gathered = Gathered::default();
    for (name, value) in &host.env {
        gathered.variable(&name.0, &value.0);
    }
    for file in clean_configuration(host) {
        if let Some(text) = configuration(&file) {
            let stem = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            values_in(&text).for_each(|value| gathered.add(&stem, value));
        }
    }
    gathered
}

/// As [`of_host`], with what the person gives the command besides.
pub fn of_run(host: &Host, plan: &RunPlan) -> Gathered {
    let mut gathered = of_host(host);
    for planned in &plan.network.credentials {
        let Ok(credential) = Credential::deserialize(&planned.credential) else { continue };
        if let CredentialSource::Env(name) = &credential.source
            && let Some(value) = host.var(name)
        {
            gathered.add(&credential.name, value.0.trim_ascii());
        }
    }
    let placeholders: Vec<&str> = plan.network.credentials.iter().filter_map(|p| p.placeholder.as_deref()).collect();
    // What stands for a credential is none, and is to be seen in evidence.
    let is_secret = |set: &&Bytes| !placeholders.iter().any(|place| set.0.ends_with(place.as_bytes()));
    for variable in plan.enclosure.env.iter().filter(is_secret) {
        if let Some(at) = variable.0.iter().position(|b| *b == b'=') {
            gathered.variable(&variable.0[..at], &variable.0[at + 1..]);
        }
    }
    gathered
}

impl Gathered {
    fn variable(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name);
        // Programs take a proxy without its scheme too (curl(1), ENVIRONMENT).
        let bare = name.to_ascii_lowercase().ends_with("_proxy") && memchr::memmem::find(value, b"://").is_none();
        let address = if bare { [&b"http://"[..], value].concat() } else { value.to_vec() };
        if let Some(password) = url_password(&address) {
            self.add(&name, password);
            self.add(&name, &percent_decoded(password));
        }
        // A name may also be that of a variable which says where the secret lies.
        let is_place =
            value.starts_with(b"/") && Path::new(&*String::from_utf8_lossy(value)).symlink_metadata().is_ok();
        if names_secret(&name) && !is_place {
            self.add(&name, value.trim_ascii());
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        if let Err(why) = self.secrets.add(name, value)
            && !self.refused.iter().any(|(known, _)| known == name)
        {
            self.refused.push((name.to_owned(), why));
        }
    }

    /// One line for the person where something cannot be struck out; the values are not in it.
    pub fn note(&self) -> Option<String> {
        let names: Vec<String> = self.refused.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        (!names.is_empty()).then(|| format!("not struck out of the evidence: {}", names.join(", ")))
    }
}

/// Whether a variable's name says that its value is a secret.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let Some((last, before)) = words.split_last() else { return false };
    if NEITHER.contains(&name.as_str()) || SETTINGS.contains(last) {
        return false;
    }
    // `SLACK_WEBHOOK_URL` is a secret, `AUTH_TOKEN_URL` is a place; `AWS_ACCESS_KEY_ID` belongs to the secret.
    let key = |word: &str| word == "KEY" || word == "KEYS";
    match *last {
        "URL" | "URI" => before.contains(&"WEBHOOK"),
        "ID" => before.ends_with(&["ACCESS", "KEY"]),
        last if key(last) => !before.is_empty() && !before.iter().any(|word| ORDINARY_KEYS.contains(word)),
        _ => {
            words.iter().any(|word| WORDS.contains(word) || ENDS.iter().any(|end| word.ends_with(end)))
                || words.windows(2).any(|w| w == ["CONNECTION", "STRING"])
        }
    }
}

/// The password of a URL: `scheme://user:password@host`.
pub(crate) fn url_password(value: &[u8]) -> Option<&[u8]> {
    let rest = &value[memchr::memmem::find(value, b"://")? + 3..];
    let authority = rest.split(|b| matches!(b, b'/' | b'?' | b'#') || b.is_ascii_whitespace()).next()?;
    let user = &authority[..authority.iter().rposition(|b| *b == b'@')?];
    let at = user.iter().position(|b| *b == b':')?;
    Some(&user[at + 1..])
}

/// Percent-decoded (RFC 3986 §2.1); what is no escape stays.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The text of a configuration file that can be read.
fn configuration(path: &Path) -> Option<Vec<u8>> {
    // What the person cannot read, no command of theirs shows.
    let file = open_regular(path).ok()?;
    let mut text = Vec::new();
    file.take(MAX_CONFIGURATION).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The values in configuration whose key names a credential (`token = "…"`, `_authToken=…`), and passwords of URLs.
pub(crate) fn values_in(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').flat_map(|line| {
        let value = line.iter().position(|b| matches!(b, b'=' | b':')).and_then(|at| {
            let key = String::from_utf8_lossy(&line[..at]).to_ascii_lowercase();
            let named = ["token", "password", "passwd", "secret", "_auth"].iter().any(|word| key.contains(word));
            named.then(|| unquoted(&line[at + 1..]))
        });
        value.into_iter().chain(url_password(line))
    })
}

/// A value without white space, quotes, and what follows the closing quote.
fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.first() {
        Some(quote @ (b'"' | b'\'')) => value[1..].split(|b| b == quote).next().unwrap_or_default(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_of_settings() {
        for name in [
            "GITHUB_TOKEN",
            "ANTHROPIC_API_KEY",
            "OPENAI_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "DB_PASSWORD",
            "PGPASSWORD",
            "SUDO_PASS",
            "MYSQL_PWD",
            "npm_config_//registry.npmjs.org/:_authToken",
            "SLACK_WEBHOOK_URL",
            "GITHUB_PAT",
            "AZURE_CLIENT_SECRET",
            "DOCKER_AUTH_CONFIG",
            "AZURE_STORAGE_CONNECTION_STRING",
            "SENTRY_DSN",
            "SSH_PRIVATE_KEY",
        ] {
            assert!(names_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "OLDPWD",
            "KEY",
            "SSH_AUTH_SOCK",
            "GOOGLE_TOKEN_FILE",
            "TOKEN_PATH",
            "AUTH_TOKEN_URL",
            "XAUTHORITY",
            "GIT_ASKPASS",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
            "TOKENIZERS_PARALLELISM",
            "SIGNING_PUBLIC_KEY",
            "SORT_KEY",
            "DESKTOP_SESSION",
            "KEYBOARD",
            "BYPASS_CACHE",
            "SECRET_NAME",
            "",
        ] {
            assert!(!names_secret(name), "{name}");
        }
    }

    #[test]
    fn passwords_of_urls_are_values() {
        for (url, password) in [
            ("postgres://me:s3cr:et@host/db", Some("s3cr:et")),
            ("https://me:p%40ss@host", Some("p%40ss")),
            ("https://me@host/a:b@c", None),
            ("https://host/a:b@c", None),
            ("nothing", None),
        ] {
            assert_eq!(url_password(url.as_bytes()), password.map(str::as_bytes), "{url}");
        }
        assert_eq!(percent_decoded(b"p%40ss%4x%"), b"p@ss%4x%");
    }

    #[test]
    fn configuration_gives_its_values() {
        let text =
            b"[registry]\ntoken = 'cio_aBcD'\nindex = \"sparse+https://u:pass9@h/\"\n//r/:_authToken=npm_x\njobs = 2\n";
        let values: Vec<_> = values_in(text).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        assert_eq!(values, ["cio_aBcD", "pass9"]);
    }

    #[test]
    fn the_environment_and_the_configuration_are_gathered() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".cargo")).unwrap();
        std::fs::write(home.path().join(".cargo/config.toml"), "[registry]\ntoken = 'cio_aBcDeFgH'\n").unwrap();
        let host = Host {
            env: vec![
                ("GITHUB_TOKEN".into(), "ghp_aBcDeFgH1".into()),
                ("DATABASE_URL".into(), "postgres://me:p%40ssW0rd9@host/db".into()),
                ("PLACE_TOKEN".into(), home.path().into()),
                ("SHORT_TOKEN".into(), "aB3".into()),
                ("EMPTY_TOKEN".into(), "".into()),
                ("LANG".into(), "de_DE.UTF-8xyz".into()),
            ],
            home: home.path().to_owned(),
            cwd: home.path().to_owned(),
            uid: 1000,
            binary: Default::default(),
        };
        let gathered = of_host(&host);
        let names: Vec<&str> = gathered.secrets.names().collect();
        assert_eq!(names, ["GITHUB_TOKEN", "DATABASE_URL", "DATABASE_URL", "config.toml"]);
        assert_eq!(
            gathered.note().unwrap(),
            "not struck out of the evidence: SHORT_TOKEN (it is shorter than 8 bytes)"
        );
    }
}
