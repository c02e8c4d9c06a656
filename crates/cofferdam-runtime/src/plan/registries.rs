//! `--resolve`: the registries that the host's client configuration names, as rules.
//!
//! Only what the person keeps outside of projects is looked at: a project's own configuration may be an agent's work.

mod configuration;

use std::collections::BTreeSet;
use std::sync::Arc;

use cofferdam_policy::host::HostPattern;
use cofferdam_policy::rule::{Record, Tls};
use cofferdam_policy::{Ecosystem, LayerKind, Rule, RuleId, Scheme};
use configuration::{Found, Setting};
use http::Uri;
use ipnet::IpNet;
use serde::Deserialize;

use crate::plan::Host;

/// `data/registries.toml`, as build.rs translates it.
const TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/registries.json"));
/// Reading packages takes no more.
const METHODS: [&str; 2] = ["GET", "HEAD"];
/// Where registries of companies lie: a registry that the person configured may be one (RFC 1918, RFC 6598, RFC 4193).
pub(super) const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

#[derive(Debug, Deserialize)]
struct Table {
    registry: Vec<Registry>,
}

/// One entry of the table. The file says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    ecosystem: Ecosystem,
    usual: Vec<String>,
    setting: Vec<Setting>,
}

/// The rules that let a run read from the registries of these ecosystems. What is configured and cannot be a rule is
/// noted.
///
/// # Errors
/// Where the table shipped with the program is broken.
pub(super) fn rules(
    host: &Host,
    ecosystems: &BTreeSet<Ecosystem>,
    notes: &mut Vec<String>,
) -> Result<Vec<Rule>, serde_json::Error> {
    let table: Table = serde_json::from_str(TABLE)?;
    let mut rules: Vec<Rule> = Vec::new();
    for registry in table.registry.iter().filter(|registry| ecosystems.contains(&registry.ecosystem)) {
        for found in places(host, registry) {
            match rule(registry.ecosystem, &found) {
                Ok(rule) if rules.iter().any(|other| same_place(other, &rule)) => {}
                Ok(rule) => rules.push(rule),
                Err(why) => {
                    let place = found.file.as_deref().map(|file| format!(" of {}", host.short(file).display()));
                    notes.push(format!(
                        "a registry of {}{} is not opened: {why}",
                        registry.ecosystem.as_str(),
                        place.unwrap_or_default()
                    ));
                }
            }
        }
    }
    Ok(rules)
}

/// What is configured, or the usual; and what is configured beside it.
fn places(host: &Host, registry: &Registry) -> Vec<Found> {
    let (beside, instead): (Vec<&Setting>, Vec<&Setting>) =
        registry.setting.iter().partition(|setting| setting.is_more());
    let usual = || {
        let found = |url: &String| Found { url: url.clone(), file: None, line: 0, usual: true };
        registry.usual.iter().map(found).collect()
    };
    let mut all: Vec<Found> = instead.iter().find_map(|setting| setting.values(host)).unwrap_or_else(usual);
    all.extend(beside.iter().filter_map(|setting| setting.values(host)).flatten());
    all
}

fn same_place(one: &Rule, other: &Rule) -> bool {
    (&one.host, one.port, one.scheme) == (&other.host, other.port, other.scheme)
}

/// A place as a rule, or why it is none. A user's name and password in the URL are left behind.
fn rule(ecosystem: Ecosystem, found: &Found) -> Result<Rule, String> {
    let uri: Uri = found.url.parse().map_err(|_| "this is no URL".to_owned())?;
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(other) if other.starts_with("git+") => {
            return Err("it is a git repository: name it in a rule, as https://… with methods GET and POST".to_owned());
        }
        _ => return Err("only http and https are read from".to_owned()),
    };
    let name = uri.host().ok_or_else(|| "its URL names no host".to_owned())?;
    let (host, _) = HostPattern::parse(name).map_err(|problem| problem.to_string())?;
    let private = PRIVATE.iter().filter_map(|range| range.parse::<IpNet>().ok());
    Ok(Rule {
        id: RuleId {
            layer: LayerKind::Resolve,
            file: found.file.as_deref().map(Arc::from),
            line: found.line,
            name: Some(ecosystem.as_str().to_owned()),
        },
        host,
        addresses: if found.usual { Vec::new() } else { private.collect() },
        port: uri.port_u16().filter(|port| scheme.default_port() != Some(*port)),
        scheme: Some(scheme),
        methods: Some(METHODS.map(str::to_owned).to_vec()),
        paths: None,
        tls: Tls::default(),
        record: Record::default(),
        purpose: format!("resolve {} packages", ecosystem.as_str()),
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn host(home: &Path, env: &[(&str, &str)]) -> Host {
        Host {
            env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            home: home.to_owned(),
            cwd: home.to_owned(),
            uid: 1000,
            binary: "/coffer".into(),
        }
    }

    fn resolved(host: &Host, ecosystems: &[Ecosystem]) -> (Vec<String>, Vec<String>) {
        let mut notes = Vec::new();
        let rules = rules(host, &ecosystems.iter().copied().collect(), &mut notes).unwrap();
        let text = |rule: &Rule| {
            let scheme = rule.scheme.map_or("?", Scheme::as_str);
            let file = rule.id.file.as_deref().and_then(Path::file_name).map(|f| f.to_string_lossy().into_owned());
            let place = file.map(|file| format!(" {file}:{}", rule.id.line)).unwrap_or_default();
            format!("{scheme}://{}:{}{place}", rule.host, rule.ports())
        };
        (rules.iter().map(text).collect(), notes)
    }

    #[test]
    fn the_usual_ones_where_nothing_is_configured() {
        let home = tempfile::tempdir().unwrap();
        let (all, notes) = resolved(&host(home.path(), &[]), &[Ecosystem::Npm, Ecosystem::Go]);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().all(|url| url.starts_with("https://") && url.ends_with(":443")), "{all:?} {notes:?}");
        let none = resolved(&host(home.path(), &[]), &[]);
        assert_eq!(none, (vec![], vec![]));
    }

    #[test]
    fn what_is_configured_counts_instead_and_tokens_are_left_behind() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(
            home.path().join(".npmrc"),
            "; mine\nregistry=https://me:pa55@npm.example:8443/api/\n//npm.example:8443/:_authToken=abc\n\
             @acme:registry = \"http://acme.example/\"\n",
        )
        .unwrap();
        let host_of_file = host(home.path(), &[]);
        assert_eq!(
            resolved(&host_of_file, &[Ecosystem::Npm]).0,
            ["https://npm.example:8443 .npmrc:2", "http://acme.example:80 .npmrc:4"]
        );
        let mut notes = Vec::new();
        let rules = rules(&host_of_file, &[Ecosystem::Npm].into(), &mut notes).unwrap();
        let text = serde_json::to_string(&rules).unwrap();
        assert!(!text.contains("pa55") && !text.contains("abc") && text.contains("resolve npm packages"), "{text}");
        assert_eq!(rules[0].methods.as_deref(), Some(&["GET".to_owned(), "HEAD".to_owned()][..]));
        assert!(!rules[0].addresses.is_empty(), "a company's own may lie in its network");
        let strongest = host(home.path(), &[("npm_config_registry", "https://env.example")]);
        assert_eq!(
            resolved(&strongest, &[Ecosystem::Npm]).0,
            ["https://env.example:443", "http://acme.example:80 .npmrc:4"]
        );
    }

    #[test]
    fn lists_tables_and_variables_are_read_as_the_clients_do() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            ".config/pip/pip.conf",
            "[global]\nindex-url = https://${MIRROR}/simple\nextra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n",
        );
        write(
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://crates.example/index/\"\n\
             [registries]\nmine.index = \"https://git.example/index\"\n",
        );
        let host = host(
            home.path(),
            &[
                ("GOPROXY", "https://go.example,https://other.example|direct"),
                ("GOSUMDB", "off"),
                ("MIRROR", "pypi.example"),
            ],
        );
        let (all, notes) = resolved(&host, &[Ecosystem::Pypi, Ecosystem::Crates, Ecosystem::Go]);
        assert_eq!(
            all,
            [
                "https://pypi.example:443 pip.conf:2",
                "https://one.example:443 pip.conf:4",
                "https://two.example:443 pip.conf:5",
                "https://crates.example:443 config.toml:4",
                "https://go.example:443",
                "https://other.example:443",
            ],
            "{notes:?}"
        );
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("git repository"), "{notes:?}");
    }

    #[test]
    fn what_cannot_be_a_rule_is_said_and_what_does_not_read_does_no_harm() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".cargo/config.toml")).unwrap();
        std::fs::write(home.path().join(".npmrc"), "registry=http://localhost:4873/\n\0[[[").unwrap();
        let (all, notes) = resolved(&host(home.path(), &[]), &[Ecosystem::Npm]);
        assert_eq!(all, Vec::<String>::new());
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("a registry of npm of ~/.npmrc is not opened: "), "{notes:?}");
        assert_eq!(resolved(&host(home.path(), &[]), &[Ecosystem::Crates]).0.len(), 3);
    }
}
