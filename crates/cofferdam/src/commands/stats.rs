//! `coffer stats`.

use std::process::ExitCode;

use cofferdam_core::Timestamp;
use cofferdam_review::stats::{Stats, run_facts, stats as together};
use cofferdam_review::text::{counted, duration, fit, grouped, one_line};

use super::Answer;
use crate::host;
use crate::output;
use crate::progress::Progress;

/// `coffer stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Read from the evidence of this machine's runs; nothing leaves it.")]
pub struct StatsArgs {
    /// Runs started since then only: so long ago (7d, 12h), or a date or time of UTC
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Most hosts that are shown to which something was refused.
const HOSTS: usize = 8;

/// Says what runs cost and were refused.
pub fn stats(args: &StatsArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let since = args.since.as_deref().map(|when| cofferdam_review::since(when, Timestamp::now())).transpose()?;
    let mut all = Vec::new();
    if store.root().is_dir() {
        cofferdam_enclosure::confine_reader(&[store.root()])?;
        let mut runs = super::readable(store.runs()?);
        runs.retain(|run| since.is_none_or(|since| run.record.started >= since));
        runs.retain(|run| run.evidence().join("log.jsonl").exists());
        let mut progress = Progress::new("runs");
        for (n, run) in runs.iter().enumerate() {
            progress.at("reading", n as u64, runs.len() as u64);
            match run_facts(&run.evidence()) {
                Ok(facts) => all.push(facts),
                Err(e) => output::complain(&format!("run {} is left out: {e}", run.record.run)),
            }
        }
    }
    let stats = together(&all);
    if args.json {
        output::json(&stats)?;
    } else if stats.runs == 0 {
        output::remark("no runs: coffer run COMMAND makes one");
    } else {
        output::print(human(&stats))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn human(stats: &Stats) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, text: String| rows.push(vec![format!("  {name}"), text]);
    let share = |part: u64| format!("{part} ({} %)", part * 100 / stats.runs.max(1));
    row("runs", stats.runs.to_string());
    if let (Some(median), Some(p95)) = (stats.startup_median, stats.startup_p95) {
        let known = if stats.startup_known < stats.runs {
            format!(", of {} that have it", counted(stats.startup_known, "run"))
        } else {
            String::new()
        };
        row(
            "start-up",
            format!("{} median, {} p95, from the record's begin to the first exec{known}", fine(median), fine(p95)),
        );
    }
    row("programs", format!("{} executed", grouped(stats.execs)));
    row("refused", format!("{} by limits, in {}", stats.refusals, counted(stats.refused_runs, "run")));
    if stats.denied > 0 {
        row("network", format!("{} denied, in {}", grouped(stats.denied), counted(stats.denied_runs, "run")));
        for host in stats.denied_hosts.iter().take(HOSTS) {
            let name = if host.host.is_empty() { "(others)".to_owned() } else { one_line(host.host.as_bytes()) };
            let times = if host.times == 1 { "once".to_owned() } else { format!("{} times", grouped(host.times)) };
            row("", format!("{}: {times}, in {}", fit(&name, 60), counted(host.runs, "run")));
        }
        let more = stats.denied_hosts.len().saturating_sub(HOSTS);
        if more > 0 {
            row("", format!("… {}: --json has all", counted(more as u64, "more host")));
        }
    }
    row("tripwires", format!("opened in {}", counted(stats.tripwire_runs, "run")));
    row("evidence", format!("{} with a gap in it", counted(stats.gap_runs, "run")));
    row("promoted", share(stats.promoted));
    row("discarded", format!("{}, never promoted", share(stats.discarded)));
    if let (Some(median), Some(p95)) = (stats.promotion_median, stats.promotion_p95) {
        let time = |seconds| if seconds == 0 { "under 1 s".to_owned() } else { duration(seconds * 1_000_000) };
        row("reviewed in", format!("{} median, {} p95, from a run's end to its promotion", time(median), time(p95)));
    }
    output::table(&rows)
}

/// Start-up is a matter of tenths of milliseconds.
fn fine(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
}
