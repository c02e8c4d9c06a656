//! `--allow HOST[:PORT] --purpose "…"`: a rule of the command line.

use crate::decide::Layer;
use crate::host::{HOST_SERVICES, HostPattern, HostProblem};
use crate::rule::{LayerKind, Record, Rule, RuleId, Tls};

/// Why an option is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The host.
    #[error("--allow {written}: {problem}")]
    Host {
        /// What was given.
        written: String,
        /// What is wrong with it.
        problem: HostProblem,
    },
    /// Services of this machine have no usual port.
    #[error("--allow {0}: name the port, as in --allow {HOST_SERVICES}:5432")]
    NoPort(String),
    /// Nobody said what it is for.
    #[error("--allow {0}: say what it is for with --purpose \"…\"")]
    NoPurpose(String),
}

/// The command line's layer, from each `--allow` with its purpose.
///
/// # Errors
/// Where one of them is no rule.
pub fn command_line<'a>(allowed: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Layer, OptionError> {
    let rules = (1..).zip(allowed).map(|(number, (host, purpose))| rule(number, host, purpose));
    Ok(Layer { rules: rules.collect::<Result<_, _>>()? })
}

fn rule(number: u32, written: &str, purpose: &str) -> Result<Rule, OptionError> {
    let (host, port) =
        HostPattern::parse(written).map_err(|problem| OptionError::Host { written: written.to_owned(), problem })?;
    if host.is_host_services() && port.is_none() {
        return Err(OptionError::NoPort(written.to_owned()));
    }
    if purpose.trim().is_empty() {
        return Err(OptionError::NoPurpose(written.to_owned()));
    }
    Ok(Rule {
        id: RuleId { layer: LayerKind::CommandLine, file: None, line: number, name: None },
        host,
        addresses: Vec::new(),
        port,
        scheme: None,
        methods: None,
        paths: None,
        tls: Tls::default(),
        record: Record::default(),
        purpose: purpose.trim().to_owned(),
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_rule_with_its_number() {
        let layer = command_line([("Example.com", " fetch "), ("host.cofferdam:5432", "the database")]).unwrap();
        let facts: Vec<_> =
            layer.rules.iter().map(|r| (r.id.line, r.host.to_string(), r.port, r.purpose.as_str())).collect();
        assert_eq!(
            facts,
            [(1, "example.com".into(), None, "fetch"), (2, "host.cofferdam".into(), Some(5432), "the database")]
        );
    }

    #[test]
    fn without_a_purpose_or_a_host_there_is_no_rule() {
        assert_eq!(command_line([("a.example", " ")]).unwrap_err(), OptionError::NoPurpose("a.example".into()));
        assert!(matches!(command_line([("*", "x")]), Err(OptionError::Host { .. })));
        assert_eq!(command_line([(HOST_SERVICES, "x")]).unwrap_err(), OptionError::NoPort(HOST_SERVICES.into()));
    }
}
