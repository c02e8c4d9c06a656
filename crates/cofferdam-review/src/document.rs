//! What needs the network, for which purpose, and when it was last used: the rules of a policy beside what runs recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cofferdam_core::event::RuleRef;
use cofferdam_core::{RunId, Timestamp};
use cofferdam_policy::host::{Host, in_authority};
use cofferdam_policy::{LayerKind, Policy, Request, Rule, Scheme};
use serde::Serialize;

use crate::index::{Times, Use};

/// Most names of programs, methods and endpoints that are told of one row.
const NAMED: usize = 12;

/// How something was used, in all runs together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Runs.
    pub runs: u64,
    /// Requests; connections, where requests are not seen.
    pub times: u64,
    /// When the last one was recorded.
    pub last: Option<Timestamp>,
    /// The commands that did it, by their programs' names; a bounded number.
    pub programs: BTreeSet<String>,
    /// The methods of requests; a bounded number.
    pub methods: BTreeSet<String>,
    /// Hosts with their ports; a bounded number.
    pub endpoints: BTreeSet<String>,
    #[serde(skip)]
    last_run: Option<RunId>,
}

impl Usage {
    /// Uses of a run come in a row.
    fn add(&mut self, run: &RunId, used: &Use, times: Times) {
        if self.last_run.as_ref() != Some(run) {
            self.runs += 1;
            self.last_run = Some(run.clone());
        }
        self.times += times.count;
        self.last = self.last.max(Some(times.last));
        let endpoint = match used.host.as_str() {
            "" => String::new(),
            host => format!("{}:{}", in_authority(host), used.port),
        };
        let names =
            [(&mut self.programs, &used.program), (&mut self.methods, &used.method), (&mut self.endpoints, &endpoint)];
        for (names, name) in names {
            if !name.is_empty() && names.len() < NAMED {
                names.insert(name.clone());
            }
        }
    }

    /// Whether there was none: what allows it can go.
    pub fn is_unused(&self) -> bool {
        self.times == 0
    }
}

/// A rule of the policy.
#[derive(Clone, Debug, Serialize)]
pub struct Operation<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// How it was used.
    pub used: Usage,
}

/// A rule that allowed something and is in the policy no more, or was given for a run only.
#[derive(Clone, Debug, Serialize)]
pub struct Former {
    /// As the runs recorded it. The line is that of the latest use.
    pub rule: RuleRef,
    /// What it was for.
    pub purpose: String,
    /// How it was used.
    pub used: Usage,
}

/// Something that was refused, and that the policy would refuse again.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was spoken.
    pub scheme: String,
    /// Why, as a word.
    pub reason: String,
    /// What would allow it, where something could.
    pub allow: Option<String>,
    /// How often, and by whom.
    pub used: Usage,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'p> {
    /// The rules, in the order in which they are asked.
    pub operations: Vec<Operation<'p>>,
    /// Other rules that allowed something, the latest first.
    pub former: Vec<Former>,
    /// What was refused, the latest first.
    pub refused: Vec<Refused>,
}

/// Collects what runs recorded, one run after the other.
#[derive(Debug)]
pub struct Documents<'p> {
    policy: &'p Policy,
    /// What was refused before this is left out.
    since: Timestamp,
    used: Vec<Usage>,
    /// By the rule without its line, and by purpose.
    former: HashMap<(RuleRef, String), Former>,
    refused: BTreeMap<(String, u16, String, String), Refused>,
}

impl<'p> Documents<'p> {
    /// For a policy; of what was refused only what came since a time.
    pub fn new(policy: &'p Policy, since: Timestamp) -> Documents<'p> {
        let used = vec![Usage::default(); policy.rules().len()];
        Documents { policy, since, used, former: HashMap::new(), refused: BTreeMap::new() }
    }

    /// Takes what one run used the network for, and what was refused to it.
    pub fn take(&mut self, run: &RunId, uses: &[(Use, Times)]) {
        for (used, times) in uses {
            match &used.rule {
                _ if !used.reason.is_empty() => self.refuse(run, used, *times),
                Some(rule) => match find(self.policy.rules(), rule, used) {
                    Some(at) => self.used[at].add(run, used, *times),
                    None => self.former(run, rule, used, *times),
                },
                None => {}
            }
        }
    }

    fn former(&mut self, run: &RunId, rule: &RuleRef, used: &Use, times: Times) {
        let key = (RuleRef { line: 0, ..rule.clone() }, used.purpose.clone());
        let former = self.former.entry(key).or_insert_with(|| Former {
            rule: rule.clone(),
            purpose: used.purpose.clone(),
            used: Usage::default(),
        });
        if former.used.last < Some(times.last) {
            former.rule = rule.clone();
        }
        former.used.add(run, used, times);
    }

    fn refuse(&mut self, run: &RunId, used: &Use, times: Times) {
        if times.last < self.since || self.allows(used) {
            return;
        }
        let key = (used.host.clone(), used.port, used.scheme.clone(), used.reason.clone());
        let refused = self.refused.entry(key).or_insert_with(|| Refused {
            host: used.host.clone(),
            port: used.port,
            scheme: used.scheme.clone(),
            reason: used.reason.clone(),
            allow: (!used.allow.is_empty()).then(|| used.allow.clone()),
            used: Usage::default(),
        });
        refused.used.add(run, used, times);
    }

    /// Whether the policy allows by now what it refused then.
    fn allows(&self, used: &Use) -> bool {
        let Some((_, scheme)) = Scheme::ALL.iter().find(|(word, _)| *word == used.scheme) else { return false };
        let method = (!used.method.is_empty()).then_some(used.method.as_str());
        let now = Timestamp::now();
        let request = Request { scheme: *scheme, host: &used.host, port: used.port, method, path: None, now };
        let decision = self.policy.decide(&request);
        // What resolves is asked last, and of runs that resolve only.
        decision.allowed && decision.rule.is_some_and(|rule| rule.id.layer != LayerKind::Resolve)
    }

    /// The document.
    pub fn finish(self) -> Document<'p> {
        let operations = self.policy.rules().iter().zip(self.used).map(|(rule, used)| Operation { rule, used });
        let mut former: Vec<Former> = self.former.into_values().collect();
        former.sort_by(|a, b| b.used.last.cmp(&a.used.last).then_with(|| a.purpose.cmp(&b.purpose)));
        let mut refused: Vec<Refused> = self.refused.into_values().collect();
        refused.sort_by_key(|refused| std::cmp::Reverse(refused.used.last));
        Document { operations: operations.collect(), former, refused }
    }
}

/// The rule of a policy that is the one a run recorded: it stands in the same file, has the same name, or without one the
/// same purpose, and is about the host. Its line may be another by now; of several the one at the same line is taken.
fn find(rules: &[Rule], recorded: &RuleRef, used: &Use) -> Option<usize> {
    let host = Host::parse(&used.host).ok();
    // Where hosts were too many to be told apart, purpose and place have to do.
    let is_about = |rule: &Rule| used.host.is_empty() || host.as_ref().is_some_and(|host| rule.host.matches(host));
    let is = |rule: &Rule| {
        let own = RuleRef::from(&rule.id);
        // `coffer allow` adds the same rule to the person's file.
        let place = recorded.layer == "live" || (&own.layer, &own.file) == (&recorded.layer, &recorded.file);
        let same = match (&own.name, &recorded.name) {
            (Some(own), Some(recorded)) => own == recorded,
            _ => rule.purpose == used.purpose,
        };
        place && same && is_about(rule)
    };
    let mut hits = rules.iter().enumerate().filter(|(_, rule)| is(rule));
    let first = hits.next()?;
    let at_line = |(_, rule): &(usize, &Rule)| rule.id.line == recorded.line;
    let hit = if at_line(&first) { first } else { hits.find(at_line).unwrap_or(first) };
    Some(hit.0)
}

#[cfg(test)]
mod tests {
    use cofferdam_core::Bytes;
    use cofferdam_policy::{Layer, Source, parse};

    use super::*;

    const POLICY: &str = "version = 1\n\
        [[network.allow]]\nhost = \"api.example\"\npaths = [\"/a/**\"]\npurpose = \"fetch\"\n\
        [[network.allow]]\nhost = \"api.example\"\npaths = [\"/b/**\"]\npurpose = \"fetch\"\n\
        [[network.allow]]\nhost = \"*.cdn.example\"\npurpose = \"files\"\nname = \"cdn\"\n\
        [[network.allow]]\nhost = \"old.example\"\npurpose = \"nobody knows\"\n";

    fn policy() -> Policy {
        let parsed = parse(&Source::new("policy.toml", POLICY.to_owned()), LayerKind::Person);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        Policy::new([Layer { rules: parsed.rules }])
    }

    fn run(n: u8) -> RunId {
        RunId::from_random([n; 12])
    }

    fn used(host: &str, line: u32, purpose: &str) -> Use {
        let file = Some(Bytes::from("policy.toml"));
        let rule = RuleRef { layer: "person".into(), file, line, name: None };
        Use {
            host: host.into(),
            port: 443,
            scheme: "https".into(),
            method: "GET".into(),
            rule: Some(rule),
            purpose: purpose.into(),
            program: "curl".into(),
            ..Use::default()
        }
    }

    fn refused(host: &str, reason: &str) -> Use {
        Use { rule: None, purpose: String::new(), reason: reason.into(), ..used(host, 0, "") }
    }

    fn at(count: u64, last: i64) -> Times {
        Times { count, last: Timestamp(last) }
    }

    #[test]
    fn uses_are_those_of_the_rule_that_was_recorded_wherever_it_stands_now() {
        let policy = policy();
        let mut documents = Documents::new(&policy, Timestamp(0));
        documents.take(
            &run(1),
            &[(used("api.example", 6, "fetch"), at(3, 10)), (used("api.example", 2, "fetch"), at(1, 5))],
        );
        // The file was edited since: the lines are others.
        documents.take(&run(2), &[(used("api.example", 77, "fetch"), at(1, 30))]);
        let mut renamed = used("x.cdn.example", 99, "another purpose then");
        renamed.rule.as_mut().unwrap().name = Some("cdn".into());
        let mut live = used("api.example", 1, "fetch");
        (live.rule.as_mut().unwrap().layer, live.rule.as_mut().unwrap().file) = ("live".into(), None);
        documents.take(&run(3), &[(renamed, at(2, 40)), (live, at(1, 41)), (used("", 10, "nobody knows"), at(9, 42))]);
        let document = documents.finish();
        let told: Vec<_> = document.operations.iter().map(|o| (o.used.runs, o.used.times, o.used.last)).collect();
        let last = |t| Some(Timestamp(t));
        assert_eq!(told, [(3, 3, last(41)), (1, 3, last(10)), (1, 2, last(40)), (1, 9, last(42))]);
        assert!(document.former.is_empty());
    }

    #[test]
    fn rules_that_are_gone_and_rules_that_nobody_used_are_told() {
        let policy = policy();
        let mut documents = Documents::new(&policy, Timestamp(0));
        let mut flag = used("api.example", 1, "try it");
        (flag.rule.as_mut().unwrap().layer, flag.rule.as_mut().unwrap().file) = ("command-line".into(), None);
        let elsewhere = used("evil.example", 2, "fetch");
        documents.take(&run(1), &[(flag.clone(), at(1, 10)), (elsewhere, at(1, 11))]);
        documents.take(&run(2), &[(flag, at(1, 20))]);
        let document = documents.finish();
        assert!(document.operations.iter().all(|o| o.used.is_unused()));
        let former: Vec<_> =
            document.former.iter().map(|f| (f.rule.layer.as_str(), f.purpose.as_str(), f.used.runs)).collect();
        assert_eq!(former, [("command-line", "try it", 2), ("person", "fetch", 1)]);
    }

    #[test]
    fn what_was_refused_counts_while_it_would_be_refused_again() {
        let policy = policy();
        let mut documents = Documents::new(&policy, Timestamp(100));
        let mut datagram = refused("9.9.9.9", "udp");
        datagram.scheme = "udp".into();
        documents.take(
            &run(1),
            &[
                (refused("a.cdn.example", "no-rule"), at(1, 200)),
                (refused("evil.example", "no-rule"), at(2, 200)),
                (refused("ancient.example", "no-rule"), at(1, 99)),
                (refused("not a host\u{1b}", "no-rule"), at(1, 150)),
                (datagram, at(1, 300)),
            ],
        );
        documents.take(&run(2), &[(refused("evil.example", "no-rule"), at(1, 250))]);
        let document = documents.finish();
        let told: Vec<_> = document.refused.iter().map(|r| (r.host.as_str(), r.used.runs, r.used.times)).collect();
        assert_eq!(told, [("9.9.9.9", 1, 1), ("evil.example", 2, 3), ("not a host\u{1b}", 1, 1)]);
    }
}
