//! Explanations: for a denial the rules that came nearest, why each does not allow the request, and a rule that would.

use std::cmp::Reverse;

use crate::decide::{Decision, Policy, Question, Reason, Request};
use crate::host::{HOST_SERVICES, Host, HostPattern};
use crate::path::NormalPath;
use crate::pattern::PathPattern;
use crate::rule::{Rule, Scheme};

/// Most rules that are shown of those that came near.
const MOST_NEAR: usize = 3;

/// A decision with what a person needs to understand it.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// The decision.
    pub decision: Decision<'p>,
    /// For a denial, the rules that came nearest, the nearest first.
    pub near: Vec<Near<'p>>,
    /// For a denial, the text of a rule that would allow the request, its purpose blank; none where what was asked for
    /// can never be allowed.
    pub rule: Option<String>,
}

/// A rule that came near.
#[derive(Clone, Debug)]
pub struct Near<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// Everything in which it differs from what was asked, in words.
    pub differs: Vec<String>,
}

/// Decides and explains.
pub fn explain<'p>(policy: &'p Policy, request: &Request<'_>) -> Explanation<'p> {
    let decision = policy.decide(request);
    if decision.allowed {
        return Explanation { decision, near: Vec::new(), rule: None };
    }
    let Ok(host) = Host::parse(request.host) else {
        return Explanation { decision, near: Vec::new(), rule: None };
    };
    let mut near = about(policy, request, &host);
    if near.is_empty() {
        near = alike(policy, &host);
    }
    near.truncate(MOST_NEAR);
    Explanation { decision, near, rule: proposal(request, &host) }
}

/// The rules about the host itself, those with the fewest differences first.
fn about<'p>(policy: &'p Policy, request: &Request<'_>, host: &Host<'_>) -> Vec<Near<'p>> {
    let mut near: Vec<Near<'p>> = Vec::new();
    for rule in policy.about(host) {
        if let Ok(question) = Question::new(request) {
            let differs = question.denied_by(rule).map(|reason| in_words(&reason, rule, request)).collect();
            near.push(Near { rule, differs });
        }
    }
    near.sort_by_key(|n| n.differs.len());
    near
}

fn in_words(reason: &Reason, rule: &Rule, request: &Request<'_>) -> String {
    let scheme = |scheme: Option<Scheme>| scheme.map_or("http and https", Scheme::as_str);
    match reason {
        Reason::Port => format!("it allows port {}, not {}", rule.ports(), request.port),
        Reason::Scheme => format!("it allows {}, not {}", scheme(rule.scheme), request.scheme.as_str()),
        Reason::Method => {
            let methods = rule.methods.as_ref().map(|m| m.join(", ")).unwrap_or_default();
            format!("it allows {methods}, not {}", request.method.unwrap_or("that"))
        }
        Reason::MethodUnknown => {
            format!(
                "it depends on the method: {} only",
                rule.methods.as_ref().map(|m| m.join(", ")).unwrap_or_default()
            )
        }
        Reason::Path => {
            let path = request.path.map(NormalPath::of).and_then(Result::ok);
            format!("its paths {} do not match {}", paths(rule), path.as_ref().map_or("it", NormalPath::as_str))
        }
        Reason::PathUnknown => format!("it depends on the path: {} only", paths(rule)),
        Reason::Ambiguous(problem) => format!("it depends on the path, and {problem}"),
        Reason::Expired => {
            format!("it ended: expires = {}", rule.expires.as_ref().map_or("", |expiry| expiry.written.as_str()))
        }
        Reason::NoRule | Reason::InvalidHost(_) | Reason::Allowed => format!("it is about {}", rule.host),
    }
}

fn paths(rule: &Rule) -> String {
    rule.paths.iter().flatten().map(PathPattern::as_str).collect::<Vec<_>>().join(", ")
}

/// Rules about hosts whose names are like this one: misspelt, or of the same domain.
fn alike<'p>(policy: &'p Policy, host: &Host<'_>) -> Vec<Near<'p>> {
    let Host::Name(name) = host else { return Vec::new() };
    let mut found: Vec<(usize, &Rule)> = Vec::new();
    for rule in policy.rules() {
        let own = match &rule.host {
            HostPattern::Name(own) | HostPattern::Suffix(own) => &**own,
            HostPattern::Address(_) => continue,
        };
        let shared = shared_labels(name, own);
        // What is one letter away is nearer than any other name of the domain.
        if own.len().abs_diff(name.len()) <= 2 && strsim::osa_distance(name, own) <= 2 {
            found.push((usize::MAX, rule));
        } else if shared >= 2 {
            found.push((shared, rule));
        }
    }
    found.sort_by_key(|(likeness, _)| Reverse(*likeness));
    let near = found.into_iter().take(MOST_NEAR);
    near.map(|(_, rule)| Near { rule, differs: vec![format!("it is about {}, not {name}", rule.host)] }).collect()
}

/// How many labels two names have in common, from the end.
fn shared_labels(a: &str, b: &str) -> usize {
    a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b).count()
}

/// The text of the narrowest rule that allows the request.
fn proposal(request: &Request<'_>, host: &Host<'_>) -> Option<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let host = host.to_string();
    // What no rule may name, none may be proposed for.
    HostPattern::parse(&host).ok()?;
    let mut text = format!("[[network.allow]]\nhost = {}\n", quoted(&host));
    let scheme = request.scheme;
    if scheme.default_port() != Some(request.port) || host == HOST_SERVICES {
        text.push_str(&format!("port = {}\n", request.port));
    }
    text.push_str(&format!("scheme = \"{}\"\n", scheme.as_str()));
    if scheme != Scheme::Tcp {
        if let Some(method) = request.method.filter(|method| crate::method::KNOWN.contains(method)) {
            text.push_str(&format!("methods = [{}]\n", quoted(method)));
        }
        match request.path.map(NormalPath::of) {
            Some(Ok(path)) => {
                let pattern = PathPattern::only(&path);
                if PathPattern::parse(&pattern).is_ok() {
                    text.push_str(&format!("paths = [{}]\n", quoted(&pattern)));
                }
            }
            Some(Err(problem)) => text.push_str(&format!("# every path: {problem}\n")),
            None => {}
        }
    }
    text.push_str("purpose = \"\"\n");
    Some(text)
}
