//! Credentials: what is fetched outside and put into the heads of requests, so that it is never inside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::{Question, Reason, Request};
use crate::rule::{Rule, RuleId};

/// Fields that say how a request is framed and where it goes (RFC 9110, sections 6.4, 7.2, 7.6 and 10.1), not who asks.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One `[[credential]]`. Its serialised form stands in a run's plan; it holds no value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// Which it is; its name is always there.
    pub id: RuleId,
    /// Its name.
    pub name: String,
    /// What it is for; never empty.
    pub purpose: String,
    /// Where its value comes from.
    pub source: CredentialSource,
    /// The requests that carry it.
    #[serde(rename = "use")]
    pub uses: Vec<Use>,
    /// The variable inside that holds a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<String>,
    /// How long a fetched value is used, in seconds; without it as long as the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// Whether only requests carry it that hold its placeholder: it is never added where the field is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub placeholder_only: bool,
}

/// The field of a request that carries a credential: `Name: value` with one `{}` in the value (RFC 9110, section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, in lower case.
    pub header: String,
    /// Its value before `{}`.
    pub before: String,
    /// Its value after `{}`.
    pub after: String,
}

impl Field {
    /// From its written form.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Field, String> {
        let (name, value) = text.split_once(':').ok_or("there is no `:` after its name")?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err("its name is none that a field can have".to_owned());
        }
        let name = name.to_ascii_lowercase();
        if FRAMING.contains(&name.as_str()) {
            return Err(format!("`{name}` says how a request is sent, not who sends it"));
        }
        let value = value.trim_matches(' ');
        if !value.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err("its value has a character that is not printable ASCII".to_owned());
        }
        match value.split("{}").collect::<Vec<_>>()[..] {
            [before, after] => Ok(Field { header: name, before: before.to_owned(), after: after.to_owned() }),
            [_] => Err("`{}` stands nowhere: the credential goes there".to_owned()),
            _ => Err("`{}` stands more than once".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Field::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Where a credential's value comes from, on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialSource {
    /// A variable of the person's environment.
    Env(String),
    /// A file, absolute or below the home (`~/…`), as it is written.
    File(String),
    /// What a program and its arguments print.
    Command(Vec<String>),
    /// The sign-in of this name, which the person's agent has outside. No policy file names it.
    SignIn(String),
}

impl CredentialSource {
    /// Its kind in evidence and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            CredentialSource::Env(_) => "env",
            CredentialSource::File(_) => "file",
            CredentialSource::Command(_) => "command",
            CredentialSource::SignIn(_) => "sign-in",
        }
    }

    /// The file of a [`CredentialSource::File`].
    pub fn path(written: &str, home: &Path) -> PathBuf {
        match written.strip_prefix("~/") {
            Some(inner) => home.join(inner),
            None => PathBuf::from(written),
        }
    }
}

/// Requests that carry a credential, and where in their heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// Which requests, as a rule says it. It allows nothing.
    pub on: Rule,
    /// The field, in lower case.
    pub header: String,
    /// Its value before `{}`.
    pub before: String,
    /// Its value after `{}`.
    pub after: String,
}

impl Use {
    /// Whether a request carries it.
    pub fn is_for(&self, request: &Request<'_>) -> bool {
        self.differs(request).is_some_and(|mut reasons| reasons.next().is_none())
    }

    /// Whether some request to this place carries it: only method and path decide yet.
    pub fn is_about(&self, request: &Request<'_>) -> bool {
        let open = |reason| {
            matches!(
                reason,
                Reason::Method | Reason::MethodUnknown | Reason::Path | Reason::PathUnknown | Reason::Ambiguous(_)
            )
        };
        self.differs(request).is_some_and(|mut reasons| reasons.all(open))
    }

    /// In what a request to its host differs; `None` where it goes elsewhere.
    fn differs(&self, request: &Request<'_>) -> Option<impl Iterator<Item = Reason>> {
        let question = Question::new(request).ok().filter(|question| self.on.host.matches(&question.host))?;
        Some(question.denied_by(&self.on).collect::<Vec<_>>().into_iter())
    }
}

impl Credential {
    /// How long a fetched value is used; `None` where the run's end alone ends it.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime.map(Duration::from_secs)
    }

    /// The first of its uses that a request falls under.
    pub fn use_for(&self, request: &Request<'_>) -> Option<&Use> {
        self.uses.iter().find(|one| one.is_for(request))
    }

    /// Whether some request to this place carries it.
    pub fn is_about(&self, request: &Request<'_>) -> bool {
        self.uses.iter().any(|one| one.is_about(request))
    }

    /// The hosts of its uses, with their ports where they are not the scheme's.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for one in &self.uses {
            let host = one.on.host.to_string();
            let host = crate::host::in_authority(&host);
            let host = one.on.port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }
}
