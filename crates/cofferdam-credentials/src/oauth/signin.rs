//! What is known of the sign-ins of agents.

use std::io;
use std::path::{Path, PathBuf};

use cofferdam_policy::host::{HOST_SERVICES, HostPattern};
use cofferdam_policy::{Credential, CredentialSource, PathPattern, Rule, Scheme, Use};
use serde::{Deserialize, Serialize};

use super::url::{TokenUrl, built_in, rule};

/// The shipped ones, `data/signins.toml`.
const SHIPPED: &str = include_str!(concat!(env!("OUT_DIR"), "/signins.json"));

/// A sign-in: where its tokens lie and how they are refreshed. Pointers are those of RFC 6901.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SignIn {
    /// Its name.
    pub name: String,
    /// The commands that use it.
    pub agents: Vec<String>,
    /// The JSON file that holds the tokens, below the home.
    pub file: String,
    /// The variable that moves a directory of it outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Where the access token stands in the file.
    pub access: String,
    /// Where the refresh token stands.
    pub refresh: String,
    /// Where an ID token (OpenID Connect Core, section 2) stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it stands when the access token ends, in milliseconds since 1970; without it its own claim says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Where it stands when it was refreshed, as RFC 3339 writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<String>,
    /// Where the scopes stand that a refresh asks for, a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// What else of the file the agent is shown inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The claims that the agent reads out of tokens which are JWTs (RFC 7519).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// The token endpoint (RFC 6749, section 3.2).
    pub token_url: TokenUrl,
    /// Other places at which the agent may ask for the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<TokenUrl>,
    /// How a refresh is asked for.
    pub form: Form,
    /// The agent's own client id.
    pub client_id: String,
    /// What an installed program sends besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// The requests that carry the access token.
    pub uses: Vec<Carries>,
    /// The directory, below the home, that the agent locks while it refreshes, as proper-lockfile does: by making another one, of
    /// its name without symbolic links and with `.lock` behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// Requests that carry an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carries {
    /// `HOST[:PORT]`, as in a rule; over TLS, but for services of this machine.
    pub host: String,
    /// The paths; without them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathPattern>>,
}

/// A variable that moves a directory of the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The variable.
    pub env: String,
    /// The directory that it stands for, below the home.
    pub from: String,
}

/// How parameters are sent to a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `application/x-www-form-urlencoded`, as RFC 6749, section 4.1.3, has it.
    Form,
    /// A JSON object.
    Json,
}

/// Why sign-ins cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum SignInsError {
    /// The shipped table.
    #[error("the table of sign-ins of this program does not read: {0}")]
    Shipped(serde_json::Error),
    /// A file of the person's cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A file of the person's is wrong.
    #[error("{} does not read: {error}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        error: Box<toml::de::Error>,
    },
    /// A pointer, name or place of it is none.
    #[error("{what}: {why}")]
    Wrong {
        /// Which.
        what: String,
        /// In words.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    sign_in: Vec<SignIn>,
}

/// All of them: the shipped ones, and those of `NAME.toml` in the person's directory, which need not be there. One of the person's
/// replaces the shipped one of its name.
///
/// # Errors
/// Where a file of the person's does not read: what is not understood is not left out in silence.
pub fn known(own: &Path) -> Result<Vec<SignIn>, SignInsError> {
    let Table { sign_in: mut all } = serde_json::from_str(SHIPPED).map_err(SignInsError::Shipped)?;
    let failed = |path: &Path, error| SignInsError::Read { path: path.to_owned(), error };
    let entries = match std::fs::read_dir(own) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(all),
        Err(e) => return Err(failed(own, e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed(own, e))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
        let one: SignIn =
            toml::from_str(&text).map_err(|error| SignInsError::Own { path: path.clone(), error: Box::new(error) })?;
        one.check().map_err(|why| SignInsError::Wrong { what: path.display().to_string(), why })?;
        all.retain(|other| other.name != one.name);
        all.push(one);
    }
    Ok(all)
}

impl SignIn {
    /// Whether a command of this name uses it.
    pub fn is_of(&self, agent: &str) -> bool {
        self.agents.iter().any(|own| own == agent)
    }

    /// Where the person's file and, where there is one, the directory that the agent locks lie outside; `env` gives a variable of theirs.
    pub fn outside(&self, home: &Path, env: impl Fn(&str) -> Option<PathBuf>) -> (PathBuf, Option<PathBuf>) {
        let at = |below: &str| {
            let moved = self.moved.as_ref().and_then(|moved| {
                let rest = below.strip_prefix(&moved.from)?;
                let to = env(&moved.env).filter(|to| to.is_absolute())?;
                let mut whole = to.into_os_string();
                whole.push(rest);
                Some(PathBuf::from(whole))
            });
            moved.unwrap_or_else(|| home.join(below))
        };
        (at(&self.file), self.lock.as_deref().map(at))
    }

    /// The places that are asked for tokens.
    pub fn token_urls(&self) -> impl Iterator<Item = &TokenUrl> {
        std::iter::once(&self.token_url).chain(&self.also)
    }

    /// As a credential: which requests carry the access token, and where.
    ///
    /// # Errors
    /// Where it names a host that is none, in words.
    pub fn credential(&self) -> Result<Credential, String> {
        let purpose = format!("the sign-in of {}", self.name);
        let uses = self.uses.iter().map(|one| {
            let (host, port) = HostPattern::parse(&one.host).map_err(|e| format!("`{}`: {e}", one.host))?;
            let scheme = (host != HostPattern::Name(HOST_SERVICES.into())).then_some(Scheme::Https);
            let on = Rule { port, scheme, paths: one.paths.clone(), ..rule(host, &purpose) };
            Ok(Use { on, header: "authorization".to_owned(), before: "Bearer ".to_owned(), after: String::new() })
        });
        let uses = uses.collect::<Result<_, String>>()?;
        Ok(Credential {
            id: built_in(&self.name),
            name: self.name.clone(),
            source: CredentialSource::SignIn(self.name.clone()),
            uses,
            expose: None,
            lifetime: None,
            // Who does not send it has another credential, in another field.
            placeholder_only: true,
            purpose,
        })
    }

    fn check(&self) -> Result<(), String> {
        let name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !name(&self.name) {
            return Err("its name has other characters than letters, digits, `-`, `_` and `.`".to_owned());
        }
        for path in [&self.file].into_iter().chain(&self.lock) {
            let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
            if path.is_empty() || !Path::new(path).components().all(plain) {
                return Err(format!("`{path}` does not lie below the home"));
            }
        }
        let pointers = [&self.access, &self.refresh].into_iter().chain(&self.id).chain(&self.expires);
        for pointer in pointers.chain(&self.refreshed).chain(&self.scopes).chain(&self.keep).chain(&self.claims) {
            if !pointer.starts_with('/') {
                return Err(format!("`{pointer}` is no JSON pointer: it does not begin with /"));
            }
        }
        self.credential().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_ones_read_and_are_sound() {
        let all = known(Path::new("/nonexistent/sign-ins")).unwrap();
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["claude", "codex", "gemini", "opencode-openai"]);
        for one in &all {
            one.check().unwrap();
            assert!(one.token_urls().all(|url| url.tls), "{}", one.name);
        }
    }

    #[test]
    fn a_persons_own_replaces_one_and_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let own = |text: &str| std::fs::write(dir.path().join("claude.toml"), text).unwrap();
        let rest = "agents = [\"claude\"]\nfile = \".c/t.json\"\naccess = \"/a\"\nrefresh = \"/r\"\nform = \"json\"\nclient-id = \"x\"\nuses = []\n";
        own(&format!("name = \"claude\"\ntoken-url = \"http://127.0.0.1:9/token\"\n{rest}"));
        let all = known(dir.path()).unwrap();
        assert_eq!(
            all.iter().filter(|one| one.name == "claude").map(|one| &*one.file).collect::<Vec<_>>(),
            [".c/t.json"]
        );
        for (line, why) in [
            ("name = \"a b\"\ntoken-url = \"https://x.example/t\"", "other characters"),
            ("name = \"claude\"\ntoken-url = \"http://x.example/t\"", "https"),
            ("name = \"claude\"\ntoken-url = \"https://x.example/t\"\nlock = \"../up\"", "below the home"),
            ("name = \"claude\"\ntoken-url = \"https://x.example/t\"\nid = \"id\"", "no JSON pointer"),
            ("name = \"claude\"\ntoken-url = \"https://x.example/t\"\nunknown = 1", "unknown"),
        ] {
            own(&format!("{line}\n{rest}"));
            let said = known(dir.path()).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("claude.toml"), "{said}");
        }
    }

    #[test]
    fn variables_move_what_they_are_for() {
        let all = known(Path::new("/nonexistent/sign-ins")).unwrap();
        let claude = &all[0];
        let (file, lock) = claude.outside(Path::new("/home/me"), |_| None);
        assert_eq!(file, Path::new("/home/me/.claude/.credentials.json"));
        assert_eq!(lock.unwrap(), Path::new("/home/me/.claude"));
        let moved = |name: &str| (name == "CLAUDE_CONFIG_DIR").then(|| PathBuf::from("/home/me/work/c"));
        let (file, lock) = claude.outside(Path::new("/home/me"), moved);
        assert_eq!(file, Path::new("/home/me/work/c/.credentials.json"));
        assert_eq!(lock.unwrap(), Path::new("/home/me/work/c"));
        let relative = |_: &str| Some(PathBuf::from("c"));
        assert_eq!(claude.outside(Path::new("/home/me"), relative).0, Path::new("/home/me/.claude/.credentials.json"));
    }
}
