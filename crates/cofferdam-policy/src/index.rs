//! Rules by host: a decision looks at those that are about its host, not at all.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::host::{Host, HostPattern};
use crate::rule::Rule;

/// Which rules are about a host, by their place among all.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: HashMap<Box<str>, Vec<usize>>,
    suffixes: HashMap<Box<str>, Vec<usize>>,
    addresses: HashMap<IpAddr, Vec<usize>>,
    /// Most labels that a suffix has.
    deepest: usize,
}

impl Index {
    pub(crate) fn new(rules: &[Rule]) -> Index {
        let mut index = Index::default();
        for (at, rule) in rules.iter().enumerate() {
            match &rule.host {
                HostPattern::Name(name) => index.names.entry(name.clone()).or_default().push(at),
                HostPattern::Suffix(suffix) => {
                    index.deepest = index.deepest.max(suffix.split('.').count());
                    index.suffixes.entry(suffix.clone()).or_default().push(at);
                }
                HostPattern::Address(address) => index.addresses.entry(*address).or_default().push(at),
            }
        }
        index
    }

    /// The rules about a host; those of each spelling in order.
    pub(crate) fn candidates<'i>(&'i self, host: &'i Host<'_>) -> impl Iterator<Item = usize> + use<'i> {
        let (exact, name) = match host {
            Host::Name(name) => (self.names.get(&**name), &**name),
            Host::Address(address) => (self.addresses.get(address), ""),
        };
        // What follows a dot, the shortest first: there is a label at least before it.
        let after = name.rmatch_indices('.').take(self.deepest).map(|(dot, _)| &name[dot + 1..]);
        let suffixes = after.filter_map(|suffix| self.suffixes.get(suffix));
        exact.into_iter().chain(suffixes).flatten().copied()
    }
}
