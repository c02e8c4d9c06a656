//! Decisions: what a request asks, which rule allows it, or why none does.

use std::cell::OnceCell;
use std::fmt;

use cofferdam_core::Timestamp;
use serde::{Serialize, Serializer};

use crate::host::{Host, HostProblem};
use crate::index::Index;
use crate::path::{NormalPath, PathProblem};
use crate::rule::{Rule, Scheme};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is spoken.
    pub scheme: Scheme,
    /// To which host, as the program named it: a name, or an address in its usual spelling.
    pub host: &'a str,
    /// To which port.
    pub port: u16,
    /// With which method; none where only the connection is known.
    pub method: Option<&'a str>,
    /// For which path, as it was sent, with or without the query; none where only the connection is known.
    pub path: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

/// Why something is allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule allows it.
    Allowed,
    /// What was asked for is no host.
    InvalidHost(HostProblem),
    /// No rule is about this host.
    NoRule,
    /// Rules for this host do not allow this port.
    Port,
    /// They allow the port, not what is spoken there.
    Scheme,
    /// They do not allow the method.
    Method,
    /// They depend on the method, which is not known.
    MethodUnknown,
    /// They do not allow the path.
    Path,
    /// They depend on the path, which is not known.
    PathUnknown,
    /// They depend on the path, which can be read in more than one way.
    Ambiguous(PathProblem),
    /// A rule allowed it and has ended.
    Expired,
}

impl Reason {
    /// Its name in evidence and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Reason::Allowed => "allowed",
            Reason::InvalidHost(_) => "invalid-host",
            Reason::NoRule => "no-rule",
            Reason::Port => "port",
            Reason::Scheme => "scheme",
            Reason::Method => "method",
            Reason::MethodUnknown => "method-unknown",
            Reason::Path => "path",
            Reason::PathUnknown => "path-unknown",
            Reason::Ambiguous(_) => "ambiguous",
            Reason::Expired => "expired",
        }
    }

    /// How near to allowing a rule came that denies for this reason.
    fn nearness(&self) -> u8 {
        match self {
            Reason::NoRule | Reason::InvalidHost(_) => 0,
            Reason::Port => 1,
            Reason::Scheme => 2,
            Reason::Method => 3,
            Reason::MethodUnknown => 4,
            Reason::Path => 5,
            Reason::PathUnknown => 6,
            Reason::Ambiguous(_) => 7,
            Reason::Expired => 8,
            Reason::Allowed => 9,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Allowed => f.write_str("a rule allows it"),
            Reason::InvalidHost(problem) => write!(f, "this is no host: {problem}"),
            Reason::NoRule => f.write_str("no rule is about this host"),
            Reason::Port => f.write_str("no rule for this host allows this port"),
            Reason::Scheme => f.write_str("no rule for this host allows what is spoken"),
            Reason::Method => f.write_str("no rule for this host allows this method"),
            Reason::MethodUnknown => f.write_str("the rules for this host depend on the method, which is not known"),
            Reason::Path => f.write_str("no rule for this host allows this path"),
            Reason::PathUnknown => f.write_str("the rules for this host depend on the path, which is not known"),
            Reason::Ambiguous(problem) => write!(f, "the path can be read in more than one way: {problem}"),
            Reason::Expired => f.write_str("the rule that allowed it has ended"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<'p> {
    /// Whether it may go.
    pub allowed: bool,
    /// The rule that allows it; for a denial the first of those that came nearest, where there is one.
    pub rule: Option<&'p Rule>,
    /// Why.
    pub reason: Reason,
}

impl<'p> Decision<'p> {
    fn new(reason: Reason, rule: Option<&'p Rule>) -> Decision<'p> {
        Decision { allowed: reason == Reason::Allowed, rule, reason }
    }
}

/// The rules of one place. Which place it is stands in each rule's id; a layer only adds to those before it.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// The rules in their order.
    pub rules: Vec<Rule>,
}

/// All rules that apply, ready to be asked.
///
/// Other kinds of layers become one more [`crate::LayerKind`] here, and another engine answers behind
/// [`Policy::decide`]: nothing else decides.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    index: Index,
}

impl Policy {
    /// From layers, in the order in which they are asked.
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Policy {
        let rules: Vec<Rule> = layers.into_iter().flat_map(|layer| layer.rules).collect();
        Policy { index: Index::new(&rules), rules }
    }

    /// All rules, in the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides. The first rule that allows a request is the one that decided; what no rule allows is denied.
    pub fn decide(&self, request: &Request<'_>) -> Decision<'_> {
        let question = match Question::new(request) {
            Ok(question) => question,
            Err(problem) => return Decision::new(Reason::InvalidHost(problem), None),
        };
        let mut allows: Option<usize> = None;
        let mut nearest: Option<(Reason, usize)> = None;
        for at in self.index.candidates(&question.host) {
            // Candidates come from several lists, each in order.
            if allows.is_some_and(|first| first < at) {
                continue;
            }
            match question.denied_by(&self.rules[at]).next() {
                None => allows = Some(at),
                Some(reason) => {
                    let nearer =
                        |(other, first): &(Reason, usize)| (reason.nearness(), *first) > (other.nearness(), at);
                    if nearest.as_ref().is_none_or(nearer) {
                        nearest = Some((reason, at));
                    }
                }
            }
        }
        match (allows, nearest) {
            (Some(at), _) => Decision::new(Reason::Allowed, Some(&self.rules[at])),
            (None, Some((reason, at))) => Decision::new(reason, Some(&self.rules[at])),
            (None, None) => Decision::new(Reason::NoRule, None),
        }
    }

    /// Whether some rule could allow this host on any port: whether its name may be looked up at all.
    pub fn may_any(&self, host: &str, now: Timestamp) -> bool {
        Host::parse(host).is_ok_and(|host| self.index.candidates(&host).any(|at| !self.rules[at].is_expired(now)))
    }

    /// What the rules about a host that have not ended are for, each purpose once.
    pub fn purposes(&self, host: &str, now: Timestamp) -> Vec<String> {
        let Ok(host) = Host::parse(host) else { return Vec::new() };
        let mut purposes: Vec<String> = Vec::new();
        for rule in self.about(&host).into_iter().filter(|rule| !rule.is_expired(now)) {
            if !purposes.contains(&rule.purpose) {
                purposes.push(rule.purpose.clone());
            }
        }
        purposes
    }

    /// The rules about a host, in order.
    pub(crate) fn about(&self, host: &Host<'_>) -> Vec<&Rule> {
        let mut found: Vec<usize> = self.index.candidates(host).collect();
        found.sort_unstable();
        found.into_iter().map(|at| &self.rules[at]).collect()
    }
}

/// A request in the form that is compared.
pub(crate) struct Question<'a> {
    pub(crate) host: Host<'a>,
    request: &'a Request<'a>,
    /// Brought into normal form only where a rule looks at it.
    path: OnceCell<Result<NormalPath, PathProblem>>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(request: &'a Request<'a>) -> Result<Question<'a>, HostProblem> {
        Ok(Question { host: Host::parse(request.host)?, request, path: OnceCell::new() })
    }

    /// Why a rule about this host does not allow it, the first reason first; nothing where it allows it.
    pub(crate) fn denied_by(&self, rule: &'a Rule) -> impl Iterator<Item = Reason> + use<'_, 'a> {
        let checks: [fn(&Self, &Rule) -> Option<Reason>; 5] =
            [Self::port, Self::scheme, Self::method, Self::path, Self::expiry];
        checks.into_iter().filter_map(move |check| check(self, rule))
    }

    fn port(&self, rule: &Rule) -> Option<Reason> {
        (!rule.admits_port(self.request.port, self.request.scheme)).then_some(Reason::Port)
    }

    fn scheme(&self, rule: &Rule) -> Option<Reason> {
        (!rule.admits_scheme(self.request.scheme)).then_some(Reason::Scheme)
    }

    fn method(&self, rule: &Rule) -> Option<Reason> {
        match (&rule.methods, self.request.method) {
            (None, _) => None,
            (Some(_), None) => Some(Reason::MethodUnknown),
            (Some(methods), Some(method)) => (!methods.iter().any(|m| m == method)).then_some(Reason::Method),
        }
    }

    fn path(&self, rule: &Rule) -> Option<Reason> {
        let patterns = rule.paths.as_ref()?;
        let Some(path) = self.request.path else { return Some(Reason::PathUnknown) };
        match self.path.get_or_init(|| NormalPath::of(path)) {
            Err(problem) => Some(Reason::Ambiguous(*problem)),
            Ok(path) => (!patterns.iter().any(|p| p.matches(path))).then_some(Reason::Path),
        }
    }

    fn expiry(&self, rule: &Rule) -> Option<Reason> {
        rule.is_expired(self.request.now).then_some(Reason::Expired)
    }
}
