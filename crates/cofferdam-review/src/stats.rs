//! What runs cost and were refused, from their logs.

use std::collections::BTreeMap;
use std::path::Path;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{Event, EventKind};
use serde::Serialize;

use crate::{Result, Tail};

/// Most hosts of a run that are told apart where something was refused.
const HOSTS: usize = 1000;

/// What one run's log says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// When it was started.
    pub started: Timestamp,
    /// From `run.started` to the first `process.exec`, in microseconds.
    pub startup: Option<u64>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Successful execs.
    pub execs: u64,
    /// What limits refused or ended.
    pub refusals: u64,
    /// What the network refused, by host; a bounded number of hosts.
    pub denied: BTreeMap<String, u64>,
    /// Opens of decoys.
    pub tripwires: u64,
    /// Things that had to be dropped from the evidence.
    pub gaps: u64,
    /// When it was first promoted.
    pub promoted: Option<Timestamp>,
    /// Its layers were thrown away.
    pub discarded: bool,
}

/// Runs taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Runs.
    pub runs: u64,
    /// From a run's beginning to its command's first instruction, in microseconds: the median.
    pub startup_median: Option<u64>,
    /// The 95th percentile of the same.
    pub startup_p95: Option<u64>,
    /// Runs that have it.
    pub startup_known: u64,
    /// Successful execs.
    pub execs: u64,
    /// What limits refused or ended.
    pub refusals: u64,
    /// Runs in which something was refused.
    pub refused_runs: u64,
    /// What the network refused.
    pub denied: u64,
    /// Runs in which the network refused something.
    pub denied_runs: u64,
    /// Hosts to which something was refused, those of the most runs first.
    pub denied_hosts: Vec<DeniedHost>,
    /// Runs in which a decoy was opened.
    pub tripwire_runs: u64,
    /// Runs of whose evidence something is missing.
    pub gap_runs: u64,
    /// Runs that were promoted, wholly or in part.
    pub promoted: u64,
    /// Runs that were thrown away and never promoted.
    pub discarded: u64,
    /// From a run's end to its first promotion, in seconds: the median.
    pub promotion_median: Option<u64>,
    /// The 95th percentile of the same.
    pub promotion_p95: Option<u64>,
}

/// A host to which something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeniedHost {
    /// The host, as programs named it; empty for those beyond the bound of a run.
    pub host: String,
    /// In how many runs.
    pub runs: u64,
    /// How often.
    pub times: u64,
}

/// Reads a run's log. Only what is counted is taken apart.
///
/// # Errors
/// Where the log cannot be read.
pub fn run_facts(evidence: &Path) -> Result<RunFacts> {
    let mut tail = Tail::open(evidence)?;
    let mut facts = RunFacts::default();
    while let Some(line) = tail.next_line()? {
        match kind(line) {
            Some(b"process.exec") => {
                facts.execs += 1;
                if facts.execs > 1 {
                    continue;
                }
            }
            Some(
                b"run.started" | b"run.ended" | b"limit.reached" | b"tripwire.opened" | b"evidence.gap"
                | b"promotion.applied" | b"net.denied" | b"run.discarded",
            ) => {}
            _ => continue,
        }
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        match event.what {
            EventKind::RunStarted(_) => facts.started = event.time,
            EventKind::ProcessExec(_) => {
                facts.startup = u64::try_from((event.time.0 - facts.started.0) / 1000).ok();
            }
            EventKind::RunEnded(_) => facts.ended = Some(event.time),
            EventKind::LimitReached { .. } => facts.refusals += 1,
            EventKind::NetDenied(denied) => {
                let room = facts.denied.len() < HOSTS || facts.denied.contains_key(&denied.host);
                *facts.denied.entry(if room { denied.host } else { String::new() }).or_default() += 1;
            }
            EventKind::TripwireOpened(opened) => facts.tripwires += opened.count,
            EventKind::EvidenceGap { .. } => facts.gaps += 1,
            EventKind::PromotionApplied(_) => facts.promoted = facts.promoted.or(Some(event.time)),
            EventKind::RunDiscarded { .. } => facts.discarded = true,
            _ => {}
        }
    }
    Ok(facts)
}

/// The kind of an event by its line alone: it stands before anything that came from inside.
fn kind(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"\"kind\":\"";
    let head = &line[..line.len().min(256)];
    let at = head.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let end = head[at..].iter().position(|b| *b == b'"')?;
    Some(&head[at..at + end])
}

/// Takes runs together.
pub fn stats(runs: &[RunFacts]) -> Stats {
    let startups = sorted(runs.iter().filter_map(|run| run.startup));
    let waits = sorted(runs.iter().filter_map(|run| {
        let nanoseconds = run.promoted?.0.checked_sub(run.ended?.0)?;
        u64::try_from(nanoseconds / 1_000_000_000).ok()
    }));
    let count = |what: fn(&RunFacts) -> bool| runs.iter().filter(|run| what(run)).count() as u64;
    Stats {
        runs: runs.len() as u64,
        startup_median: percentile(&startups, 50),
        startup_p95: percentile(&startups, 95),
        startup_known: startups.len() as u64,
        execs: runs.iter().map(|run| run.execs).sum(),
        refusals: runs.iter().map(|run| run.refusals).sum(),
        refused_runs: count(|run| run.refusals > 0),
        denied: runs.iter().flat_map(|run| run.denied.values()).sum(),
        denied_runs: count(|run| !run.denied.is_empty()),
        denied_hosts: denied_hosts(runs),
        tripwire_runs: count(|run| run.tripwires > 0),
        gap_runs: count(|run| run.gaps > 0),
        promoted: count(|run| run.promoted.is_some()),
        discarded: count(|run| run.discarded && run.promoted.is_none()),
        promotion_median: percentile(&waits, 50),
        promotion_p95: percentile(&waits, 95),
    }
}

fn denied_hosts(runs: &[RunFacts]) -> Vec<DeniedHost> {
    let mut hosts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (host, times) in runs.iter().flat_map(|run| &run.denied) {
        let (runs, all) = hosts.entry(host).or_default();
        *runs += 1;
        *all += times;
    }
    let host = |(host, (runs, times)): (&str, (u64, u64))| DeniedHost { host: host.to_owned(), runs, times };
    let mut hosts: Vec<DeniedHost> = hosts.into_iter().map(host).collect();
    hosts.sort_by_key(|host| std::cmp::Reverse((host.runs, host.times)));
    hosts
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// By the nearest rank.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_the_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 95)), (Some(50), Some(95)));
        assert_eq!((percentile(&[7], 95), percentile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn kinds_are_read_before_anything_from_inside() {
        let line = br#"{"seq":1,"time":"2026-11-24T13:40:01.000000000Z","kind":"prompt","data":{"x":"\"kind\":\"run.ended\""}}"#;
        assert_eq!(kind(line), Some(&b"prompt"[..]));
        assert_eq!(kind(b"{\"seq\":1}"), None);
    }

    #[test]
    fn hosts_of_the_most_runs_come_first() {
        let run = |hosts: &[(&str, u64)]| RunFacts {
            denied: hosts.iter().map(|(host, times)| ((*host).to_owned(), *times)).collect(),
            ..RunFacts::default()
        };
        let got = stats(&[run(&[("a", 90), ("b", 1)]), run(&[("b", 2)]), run(&[])]);
        assert_eq!((got.denied, got.denied_runs), (93, 2));
        let hosts: Vec<_> = got.denied_hosts.iter().map(|h| (h.host.as_str(), h.runs, h.times)).collect();
        assert_eq!(hosts, [("b", 2, 3), ("a", 1, 90)]);
    }

    #[test]
    fn shares_and_waits() {
        let run = |ended, promoted, discarded| RunFacts {
            ended: Some(Timestamp(ended)),
            promoted,
            discarded,
            ..RunFacts::default()
        };
        let second = 1_000_000_000;
        let got = stats(&[
            run(0, Some(Timestamp(10 * second)), false),
            run(0, Some(Timestamp(20 * second)), true),
            run(0, None, true),
            run(0, None, false),
        ]);
        assert_eq!((got.promoted, got.discarded, got.promotion_median), (2, 1, Some(10)));
    }
}
