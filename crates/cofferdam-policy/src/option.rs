//! `--allow HOST[:PORT] --purpose "…"`: a rule of the command line; `--budget` and `--model-allow`: what it says of models.

use crate::decide::Layer;
use crate::host::{HOST_SERVICES, HostPattern, HostProblem};
use crate::models::{Budget, ModelRules, Per, Said};
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

/// What the command line says of models: the patterns of each `--model-allow`, and each `--budget`.
///
/// # Errors
/// Where one of them is no budget, in words.
pub fn models<'a>(
    allowed: impl IntoIterator<Item = &'a str>,
    budgets: impl IntoIterator<Item = &'a str>,
) -> Result<ModelRules, String> {
    let id = |line| RuleId { layer: LayerKind::CommandLine, file: None, line, name: None };
    let allowed: Vec<String> = allowed.into_iter().map(str::to_owned).collect();
    let budgets: Result<Vec<Budget>, String> =
        (1..).zip(budgets).map(|(number, written)| budget(id(number), written)).collect();
    Ok(ModelRules {
        allow: (!allowed.is_empty()).then(|| Said { id: id(1), value: allowed }),
        budgets: budgets?,
        ..ModelRules::default()
    })
}

/// `5usd`, `2000000tokens`, `500requests`, each also with what it is for: `5usd/day`.
fn budget(id: RuleId, written: &str) -> Result<Budget, String> {
    let no = |why: &str| format!("--budget {written}: {why}, as in 5usd, 2000000tokens, 500requests or 5usd/day");
    let (amount, per) = written.split_once('/').unwrap_or((written, "run"));
    let per = Per::ALL.iter().find(|(word, _)| *word == per).ok_or_else(|| no("per run, day, month or project"))?.1;
    let digits = amount.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(amount.len());
    let (number, unit) = amount.split_at(digits);
    let number = number.replace('_', "");
    let count = || number.parse::<u64>().map_err(|_| no("a whole number"));
    let mut budget =
        Budget { id, usd: None, tokens: None, requests: None, per, here: per == Per::Project, unpriced: false };
    match unit.trim() {
        "usd" => budget.usd = Some(number.parse().map_err(|e| no(&format!("{e}")))?),
        "tokens" => budget.tokens = Some(count()?),
        "requests" => budget.requests = Some(count()?),
        _ => return Err(no("an amount and what of")),
    }
    Ok(budget)
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
    fn budgets_of_the_command_line_are_amounts_with_their_unit() {
        let of = |written: &str| models(["claude-*"], [written]).map(|rules| rules.budgets[0].to_string());
        assert_eq!(of("5usd").as_deref(), Ok("5.00 USD per run"));
        assert_eq!(of("0.25usd/day").as_deref(), Ok("0.25 USD per day"));
        assert_eq!(of("2_000_000tokens/project").as_deref(), Ok("2000000 tokens per project"));
        assert_eq!(of("500requests/month").as_deref(), Ok("500 requests per month"));
        for bad in ["", "5", "usd", "5eur", "-5usd", "1.5requests", "5usd/year", "0.0000001usd"] {
            assert!(of(bad).unwrap_err().starts_with(&format!("--budget {bad}: ")), "{bad}");
        }
    }

    #[test]
    fn without_a_purpose_or_a_host_there_is_no_rule() {
        assert_eq!(command_line([("a.example", " ")]).unwrap_err(), OptionError::NoPurpose("a.example".into()));
        assert!(matches!(command_line([("*", "x")]), Err(OptionError::Host { .. })));
        assert_eq!(command_line([(HOST_SERVICES, "x")]).unwrap_err(), OptionError::NoPort(HOST_SERVICES.into()));
    }
}
