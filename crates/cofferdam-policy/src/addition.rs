//! A rule that is added to a policy file, or to a run that goes on.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::file::{self, FileError};
use crate::rule::{LayerKind, Rule, Scheme};
use crate::schema::{VERSION, parse};
use crate::source::Source;

/// What a rule is to say, as a person gives it on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// `HOST[:PORT]`, as in a rule.
    pub host: String,
    /// Why.
    pub purpose: String,
    /// Methods; without them all.
    pub methods: Vec<String>,
    /// Patterns of paths; without them all.
    pub paths: Vec<String>,
    /// A date or moment, as in a rule.
    pub expires: Option<String>,
    /// What may be spoken, where that is to be said.
    pub scheme: Option<Scheme>,
    /// Whether TLS passes.
    pub passthrough: bool,
}

/// Why a rule was not added.
#[derive(Debug, thiserror::Error)]
pub enum AdditionError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has errors as it is: nothing is added to what does not count.
    #[error("{} has errors: `coffer policy check` shows them; nothing was added", .0.display())]
    Errors(PathBuf),
    /// The rule would have errors.
    #[error("this is no rule")]
    Rule(Source, Vec<Diagnostic>),
    /// The file cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

impl Addition {
    /// The rule's text in a policy file.
    pub fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let mut out = format!("[[network.allow]]\nhost = {}\n", quoted(&self.host));
        if let Some(scheme) = self.scheme {
            out.push_str(&format!("scheme = {}\n", quoted(scheme.as_str())));
        }
        if self.passthrough {
            out.push_str("tls = \"passthrough\"\n");
        }
        for (key, texts) in [("methods", &self.methods), ("paths", &self.paths)] {
            if !texts.is_empty() {
                out.push_str(&format!("{key} = [{}]\n", list(texts)));
            }
        }
        out.push_str(&format!("purpose = {}\n", quoted(&self.purpose)));
        if let Some(expires) = &self.expires {
            out.push_str(&format!("expires = {expires}\n"));
        }
        out
    }

    /// The rule, for a run that goes on; `number` says which of its rules it is, from 1.
    ///
    /// # Errors
    /// [`AdditionError::Rule`].
    pub fn live(&self, number: u32) -> Result<Rule, AdditionError> {
        let source = Source::new("the command line", format!("version = {VERSION}\n{}", self.text()));
        let mut rule = the_last(source, LayerKind::Live)?;
        rule.id.file = None;
        rule.id.line = number;
        Ok(rule)
    }

    /// Adds the rule at the end of the person's policy file, which is made where there is none. Either all of the new
    /// content stands there or all of the old.
    ///
    /// # Errors
    /// [`AdditionError`]; then the file is as it was.
    pub fn append(&self, path: &Path) -> Result<Rule, AdditionError> {
        let failed = |error| AdditionError::Write { path: path.to_owned(), error };
        // A link (people keep their configuration elsewhere) stays one.
        let real = path.canonicalize().or_else(|_| absent(path)).map_err(failed)?;
        let directory = real.parent().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Two at once: the second adds to what the first wrote.
        let lock = std::fs::File::open(directory).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let text = match file::read(path)? {
            Some(source) if !parse(&source, LayerKind::Person).diagnostics.is_empty() => {
                return Err(AdditionError::Errors(path.to_owned()));
            }
            Some(source) => source.text,
            None => format!("version = {VERSION}\n"),
        };
        let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
        let source = Source::new(path, format!("{text}{gap}{}", self.text()));
        let rule = the_last(source.clone(), LayerKind::Person)?;
        let mut new = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        new.write_all(source.text.as_bytes()).map_err(failed)?;
        if let Ok(meta) = real.metadata() {
            new.as_file().set_permissions(meta.permissions()).map_err(failed)?;
        }
        new.as_file().sync_all().map_err(failed)?;
        new.persist(&real).map_err(|e| failed(e.error))?;
        Ok(rule)
    }
}

/// The place of a file that is not there yet; its directory is made.
fn absent(path: &Path) -> io::Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    std::fs::create_dir_all(directory)?;
    Ok(directory.canonicalize()?.join(name))
}

fn the_last(source: Source, layer: LayerKind) -> Result<Rule, AdditionError> {
    let mut parsed = parse(&source, layer);
    match parsed.rules.pop() {
        Some(rule) if parsed.diagnostics.is_empty() => Ok(rule),
        _ => Err(AdditionError::Rule(source, parsed.diagnostics)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addition() -> Addition {
        Addition { host: "api.example.com:8443".into(), purpose: "say \"hello\"".into(), ..Addition::default() }
    }

    #[test]
    fn what_is_added_is_a_rule_and_the_rest_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, real) = (dir.path().join("link/policy.toml"), dir.path().join("dotfiles"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(addition().append(&path).unwrap().purpose, "say \"hello\"");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{before}# a remark without an end")).unwrap();
        let more = Addition { methods: vec!["GET".into()], paths: vec!["/x/**".into()], ..addition() };
        let rule = more.append(&path).unwrap();
        assert_eq!((rule.port, rule.methods.map(|m| m.len())), (Some(8443), Some(1)));
        let after = std::fs::read_to_string(real.join("policy.toml")).unwrap();
        assert!(
            after.starts_with(&before) && after.contains("# a remark without an end\n\n[[network.allow]]"),
            "{after}"
        );
        assert_eq!(parse(&Source::new("x", after), LayerKind::Person).rules.len(), 2);
    }

    #[test]
    fn nothing_is_added_to_a_file_with_errors_and_no_rule_with_errors_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        std::fs::write(&path, "version = 1\nnetwrok = 1\n").unwrap();
        assert!(matches!(addition().append(&path), Err(AdditionError::Errors(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "version = 1\nnetwrok = 1\n");
        let absent = dir.path().join("absent.toml");
        for wrong in [
            Addition { purpose: " ".into(), ..addition() },
            Addition { host: "*".into(), ..addition() },
            Addition { methods: vec!["get".into()], ..addition() },
            Addition { expires: Some("soon".into()), ..addition() },
            Addition { expires: Some("2027-01-01\nport = 1".into()), ..addition() },
        ] {
            assert!(matches!(wrong.append(&absent), Err(AdditionError::Rule(..))), "{wrong:?}");
            assert!(wrong.live(1).is_err());
        }
        assert!(!absent.exists());
        assert_eq!(addition().live(3).unwrap().id.line, 3);
    }
}
