//! What was measured, as a table with its goals, or as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Size;
use crate::life::Life;
use crate::load::{self, Http, Sample, Subject};
use crate::peers::Peers;
use crate::run::Run;
use crate::support::ratios;

/// One way to the server with a number of connections.
pub struct Case {
    way: Option<Http>,
    connections: usize,
    subjects: Vec<Subject>,
    /// By subject, by round.
    samples: Vec<Vec<Sample>>,
}

impl Case {
    pub fn new(way: Option<Http>, connections: usize, subjects: Vec<Subject>) -> Case {
        let samples = vec![Vec::new(); subjects.len()];
        Case { way, connections, subjects, samples }
    }

    /// Measures each subject once; who is first changes from round to round.
    pub fn round(&mut self, peers: &Peers, inside: &Run, milliseconds: u64, round: usize) {
        for turn in 0..self.subjects.len() {
            let at = (turn + round) % self.subjects.len();
            let subject = self.subjects[at];
            let sample = match self.way {
                None => load::tcp(peers, inside, subject, self.connections, milliseconds),
                Some(way) => load::http(peers, inside, subject, (way, self.connections, milliseconds)),
            };
            self.samples[at].push(sample);
        }
    }

    fn name(&self) -> String {
        let way = match self.way {
            None => "plain TCP",
            Some(Http::H1) => "HTTP/1.1 over TLS",
            Some(Http::H2) => "HTTP/2 over TLS",
        };
        format!("{way}, {} connection{}", self.connections, if self.connections == 1 { "" } else { "s" })
    }

    /// Beside whom the goal puts the gateway, and how many times as fast it is to be.
    fn goal(&self) -> (Subject, f64) {
        if self.way.is_some() { (Subject::Mitmproxy, 10.0) } else { (Subject::Relay, 0.95) }
    }

    fn values(&self, subject: Subject, of: fn(&Sample) -> f64) -> Option<Vec<f64>> {
        let at = self.subjects.iter().position(|other| *other == subject)?;
        Some(self.samples[at].iter().map(of).collect())
    }

    /// The median of a figure over the rounds.
    fn median(&self, subject: Subject, of: fn(&Sample) -> f64) -> Option<f64> {
        self.values(subject, of).map(median)
    }

    /// A figure beside another subject's of the same round: median, least, most.
    fn beside(&self, subject: Subject, other: Subject, of: fn(&Sample) -> f64) -> Option<[f64; 3]> {
        let mut all = ratios(&self.values(subject, of)?, &self.values(other, of)?);
        // In a short time on a busy machine a slow peer may give nothing.
        all.retain(|ratio| ratio.is_finite());
        if all.is_empty() {
            return None;
        }
        all.sort_by(f64::total_cmp);
        Some([median(all.clone()), all[0], all[all.len() - 1]])
    }

    /// What a subject adds to the latency of the direct way in the same round, the median, in microseconds.
    fn added(&self, subject: Subject, of: fn(&Sample) -> f64) -> Option<f64> {
        let (own, direct) = (self.values(subject, of)?, self.values(Subject::Direct, of)?);
        Some(median(own.iter().zip(&direct).map(|(own, direct)| own - direct).collect()))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

const BYTES: fn(&Sample) -> f64 = |sample| sample.bytes;
const ANSWERS: fn(&Sample) -> f64 = |sample| sample.answers;
const P50: fn(&Sample) -> f64 = |sample| sample.p50;
const P99: fn(&Sample) -> f64 = |sample| sample.p99;

/// Descriptors by which two moments of one gateway may differ: a pipe is kept for the next connection, and which of them
/// met another one's end is chance. A leak of one in a hundred connections is ten times as much.
const PIPES: usize = 8;

/// A goal and whether it is met.
fn verdict(goal: &str, met: bool) -> String {
    format!("goal {goal}: {}", if met { "met" } else { "MISSED" })
}

pub fn show(cases: &[Case], life: &Life, size: &Size, took: Duration) {
    println!(
        "{} rounds in turn, {} ms a measurement, {} s in all. Medians; \"×\" and \"added\" are medians of what each\n\
         round gives beside the reference and the direct way. Bytes: of 1 MiB bodies, of the stream for plain TCP.",
        size.rounds,
        size.milliseconds,
        took.as_secs()
    );
    for case in cases {
        show_case(case);
    }
    show_life(life, size);
}

fn show_case(case: &Case) {
    let (reference, goal) = case.goal();
    let beside = format!("× {}", reference.name());
    println!("\n{}", case.name());
    println!(
        "  {:18}{:>9} {beside:>18}{:>11} {beside:>18}{:>9}{:>9}{:>10}{:>10}",
        "", "MiB/s", "answers/s", "p50 µs", "p99 µs", "added p50", "added p99"
    );
    for subject in &case.subjects {
        let value = |of| case.median(*subject, of).unwrap_or(f64::NAN);
        let times =
            |of| case.beside(*subject, reference, of).map_or("-".to_owned(), |[median, ..]| format!("{median:.2}"));
        let added = |of| match case.added(*subject, of) {
            Some(added) if *subject != Subject::Direct => format!("{added:+.0}"),
            _ => "-".to_owned(),
        };
        println!(
            "  {:18}{:9.0} {:>18}{:11.0} {:>18}{:9.0}{:9.0}{:>10}{:>10}",
            subject.name(),
            value(BYTES) / f64::from(1 << 20),
            times(BYTES),
            value(ANSWERS),
            times(ANSWERS),
            value(P50),
            value(P99),
            added(P50),
            added(P99)
        );
    }
    for (what, of) in [("bytes", BYTES), ("answers", ANSWERS)] {
        // The relay's goal is one of bytes.
        if case.way.is_none() && what == "answers" {
            continue;
        }
        match case.beside(Subject::Gateway, reference, of) {
            Some([median, least, most]) => {
                let met = verdict(&format!("≥ {goal}"), median >= goal);
                println!("  {what}: {median:.2} × {} ({least:.2} to {most:.2}), {met}", reference.name());
            }
            None => println!("  {what}: NOT COMPARED, {} gave none", reference.name()),
        }
    }
    for (what, of) in [("bytes", BYTES), ("answers", ANSWERS)] {
        if let Some([median, least, most]) = case.beside(Subject::Gateway, Subject::RelayInside, of) {
            println!("  {what}: {median:.2} × {} ({least:.2} to {most:.2})", Subject::RelayInside.name());
        }
    }
    if let (Some(_), 1, Some(added)) = (case.way, case.connections, case.added(Subject::Gateway, P50)) {
        println!("  added at p50: {:.3} ms, {}", added / 1e3, verdict("≤ 0.5 ms", added <= 500.0));
    }
}

fn show_life(life: &Life, size: &Size) {
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    println!("\nthe gateway's life");
    println!("  peak resident under all of the above            {:8.1} MiB", mebibytes(life.busiest));
    let (peak, seconds) = life.large;
    println!(
        "  … while one body of {} MiB passes ({:.0} MiB/s)  {:8.1} MiB, {}",
        size.large,
        size.large as f64 / seconds,
        mebibytes(peak),
        verdict("≤ 64 MiB", peak <= 64 * 1024)
    );
    let (before, after) = life.held;
    println!(
        "  {} connections in turn: resident after a tenth {:.1} MiB, after all {:.1} MiB",
        size.turns,
        mebibytes(before.resident),
        mebibytes(after.resident)
    );
    match (before.descriptors, after.descriptors) {
        (Some(before), Some(after)) => {
            let met = verdict("no more than pipes that are kept", after <= before + PIPES);
            println!("    descriptors {before}, then {after}, {met}");
        }
        _ => println!("    descriptors NOT COUNTED: only root may look into the gateway"),
    }
    println!("    each, p50: {:.0} µs beside {:.0} direct", life.turn.1, life.turn.0);
    let (direct, first) = (median(life.first.0.clone()), median(life.first.1.clone()));
    let later = first - direct;
    println!(
        "  first connection of a run, look-up included     {first:8.2} ms beside {direct:.2}, {}",
        verdict("≤ 15 ms later", later <= 15.0)
    );
    let (without, with) = &life.start;
    let more = median(ratios(with, without));
    println!(
        "  an offline run with a network policy            {:8.2} ms beside {:.2} without: {:.3} ×, {}",
        median(with.clone()),
        median(without.clone()),
        more,
        verdict("≤ 1.02", more <= 1.02)
    );
}

pub fn json(cases: &[Case], life: &Life, size: &Size, took: Duration) -> Value {
    let sample = |s: &Sample| {
        json!({ "bytes_per_second": s.bytes, "answers_per_second": s.answers,
                "p50_microseconds": s.p50, "p99_microseconds": s.p99 })
    };
    let cases: Vec<Value> = cases
        .iter()
        .map(|case| {
            let (reference, goal) = case.goal();
            let subjects: serde_json::Map<String, Value> = case
                .subjects
                .iter()
                .zip(&case.samples)
                .map(|(subject, rounds)| (subject.name().to_owned(), rounds.iter().map(sample).collect()))
                .collect();
            let beside = |of| case.beside(Subject::Gateway, reference, of).map(|[median, ..]| median);
            json!({
                "case": case.name(), "connections": case.connections, "rounds": subjects,
                "reference": reference.name(), "goal_times_reference": goal,
                "bytes_times_reference": beside(BYTES), "answers_times_reference": beside(ANSWERS),
                "added_p50_microseconds": case.added(Subject::Gateway, P50),
                "added_p99_microseconds": case.added(Subject::Gateway, P99),
            })
        })
        .collect();
    let held = |held: crate::life::Held| json!({ "resident_kib": held.resident, "descriptors": held.descriptors });
    json!({
        "seconds": took.as_secs_f64(), "rounds": size.rounds, "milliseconds": size.milliseconds, "cases": cases,
        "peak_kib": life.busiest,
        "large_body": { "mebibytes": size.large, "seconds": life.large.1, "peak_kib": life.large.0 },
        "connections_in_turn": {
            "count": size.turns, "after_a_tenth": held(life.held.0), "after_all": held(life.held.1),
            "direct_p50_microseconds": life.turn.0, "gateway_p50_microseconds": life.turn.1,
        },
        "first_connection_milliseconds": { "direct": life.first.0, "gateway": life.first.1 },
        "offline_run_milliseconds": { "without_policy": life.start.0, "with_policy": life.start.1 },
    })
}
