//! That the network was not used.

use std::sync::LazyLock;

use regex::Regex;

use super::sentences::Sentence;
use super::tests::{pattern, words};
use super::{Found, Look, Verdict};
use crate::text::{fit, grouped, one_line};

words!(
    NONE,
    r"\b(?:no (?:network|internet)|no (?:external|outgoing|http) (?:requests?|calls?|connections?)|without (?:network|internet|any network)|(?:not|n't|never) (?:use|used|using|access|accessed|need|needed|require|required|touch|touched) (?:the )?(?:network|internet)|nothing was (?:downloaded|fetched|uploaded))\b"
);

pub(super) fn claims(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    if !NONE.is_match(&sentence.low) {
        return Vec::new();
    }
    let left = &look.facts.left;
    vec![match left.first() {
        None => Found::new("network", Verdict::Supported, None, "nothing left but what went to models"),
        Some((seq, host)) => {
            let more = left.len() as u64 - 1;
            let more = if more > 0 { format!(", and {} more", grouped(more)) } else { String::new() };
            let host = fit(&one_line(host.as_bytes()), 60);
            Found::new("network", Verdict::Refuted, Some(*seq), format!("a connection to {host} left{more}"))
        }
    }]
}
