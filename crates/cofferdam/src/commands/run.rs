//! `coffer run` and `coffer shell`.

use std::path::PathBuf;
use std::process::ExitCode;

use cofferdam_core::event::{EndReason, NetUnpublished, RunEnded};
use cofferdam_core::plan::{Purpose, RunPlan};
use cofferdam_core::{Bytes, Timestamp};
use cofferdam_policy::option::{command_line, models};
use cofferdam_policy::{Ecosystem, Layer, Layers, Places, Policy};
use cofferdam_runtime::from::go_on_from;
use cofferdam_runtime::plan::{
    Host, PlanError, Request, allowed_hosts, credential_names, proxy, resolve, resolving, trust_store,
};
use cofferdam_runtime::prepare::Prepared;
use cofferdam_runtime::protocol::{NetworkSummary, Summary};
use cofferdam_runtime::publish::Listening;
use cofferdam_runtime::secrets;
use cofferdam_runtime::store::Store;

use super::Answer;
use crate::cli::{Options, OriginArgs, RunArgs, ShellArgs};
use crate::failure::Failure;
use crate::output::{self, Colour};
use crate::run::{self, Early, Outcome};
use crate::{exit, host};

/// Runs a command.
pub fn run(early: Early, args: RunArgs, colour: Colour) -> Answer {
    let argv = args.command.into_iter().map(Bytes::from).collect();
    start(early, &host::host()?, argv, &args.options, &args.origin, colour)
}

/// Runs the person's shell.
pub fn shell(early: Early, args: ShellArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let shell = host.var("SHELL").cloned().filter(|s| s.as_path().is_absolute()).unwrap_or_else(|| "/bin/sh".into());
    start(early, &host, vec![shell], &args.options, &OriginArgs::default(), colour)
}

fn start(
    early: Early,
    host: &Host,
    argv: Vec<Bytes>,
    options: &Options,
    origin: &OriginArgs,
    colour: Colour,
) -> Answer {
    let client = match early {
        Some(client) => client,
        None => run::split(),
    }
    .map_err(|e| Failure::new(format!("the run's processes cannot be made: {e}")))?;
    let store = host::store(host);
    let request = Request {
        run: origin.id.clone(),
        argv,
        project: options.project.clone(),
        env: options.env.iter().map(|v| Bytes::from(v.as_os_str())).collect(),
        processes: options.processes,
        stdio: run::stdio(&client),
        record_typing: !options.no_record_typing,
        tripwires: !options.no_tripwires,
        person_policy: crate::host::person_policy(host),
        sign_ins: crate::host::sign_ins(host),
        allow: allowed(options)?,
        models: models(options.model_allow.iter().map(String::as_str), options.budget.iter().map(String::as_str))
            .map_err(Failure::new)?,
        publish: options.publish.clone(),
        resolve: options.resolve,
        agents: crate::host::agents(host),
        unattended: options.unattended,
    };
    let mut plan = resolve(host, &store, &request).map_err(no_plan)?;
    if let Some(cwd) = &origin.cwd {
        plan.enclosure.cwd = cwd.as_path().into();
    }
    if origin.purpose.is_some() {
        // What is repeated is repeated offline.
        plan.network.rules.clear();
        plan.network.credentials.clear();
        plan.home_files.clear();
    }
    if let Some(from) = &origin.from {
        let run = store.find(from, plan.project.as_path())?;
        go_on_from(&store, &mut plan, &run, origin.purpose.as_ref().map(|_| Purpose::Rerun))?;
    }
    let gathered = secrets::of_run(host, &plan);
    plan.notes.extend(gathered.note());
    if options.dry_run {
        output::json(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let published = options.publish.iter().map(super::publish::listen).collect::<Result<Vec<_>, _>>()?;
    plan.notes.extend(published.iter().filter_map(super::publish::warning));
    let voice = Voice { quiet: options.quiet, json: options.json, colour: colour.stderr() };
    voice.published(&published);
    let prepared = Prepared::new(plan, gathered.secrets, proxy(host), published)
        .map_err(|e| Failure::new(format!("no run: {e}")).next(NO_EVIDENCE))?;
    let plan = prepared.plan().clone();
    voice.begin(host, &plan);
    let outcome = run::follow(client, prepared).map_err(|e| Failure::new(format!("the run lost its streams: {e}")))?;
    match outcome {
        Outcome::Ended(mut summary) => {
            if let (Some(network), false) = (&mut summary.network, options.resolve) {
                point_to_resolve(network, host, &plan, &store, request.person_policy);
            }
            voice.end(&summary)?;
            Ok(status(&summary.ended))
        }
        Outcome::NotExecuted(errno) => Err(not_executed(&plan, errno)),
        Outcome::NotEnclosed(e) => Err(Failure::new(format!("no run: {e}")).next(e.hint())),
        Outcome::NotRecorded(e) => Err(Failure::new(format!("no run: {e}")).next(NO_EVIDENCE)),
        Outcome::Broken(e) => Err(Failure::new(format!("run {} was ended: {e}", plan.run)).next(format!(
            "nothing goes on without its evidence; what it did is kept: make room, then coffer diff {}",
            plan.run.short()
        ))),
        Outcome::MonitorDied => Err(Failure::new(format!("the monitor of run {} died, and the run with it", plan.run))
            .next(format!(
                "the real tree is untouched; coffer list shows the run, coffer diff {} what it left",
                plan.run.short()
            ))),
    }
}

/// Why there is no plan, and what to do.
pub(super) fn no_plan(error: PlanError) -> Failure {
    let words: Vec<String> = Ecosystem::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let next = matches!(error, PlanError::NoRegistries).then(|| {
        format!(
            "say in your policy file whose it may be, as in `[packages] registries = [\"npm\"]`: known are {}",
            words.join(", ")
        )
    });
    let failure = Failure::new(error);
    match next {
        Some(next) => failure.next(next),
        None => failure,
    }
}

/// Where what was denied is a registry that policy names, says so instead of proposing a rule.
fn point_to_resolve(network: &mut NetworkSummary, host: &Host, plan: &RunPlan, store: &Store, person: PathBuf) {
    let places = Places { person, project: plan.project.as_path().to_owned(), trust: trust_store(store) };
    let rules = Layers::read(&places).map_err(PlanError::from).and_then(|l| resolving(host, &l, &mut Vec::new()));
    // The run is over: what cannot be read now only leaves the other proposal standing.
    let Ok(rules) = rules else { return };
    let policy = Policy::new([Layer { rules }]);
    for denied in &mut network.denied {
        if policy.may_any(&denied.host, Timestamp::now()) {
            denied.allow = Some("it is a package registry that your policy names: coffer run --resolve …".to_owned());
        }
    }
}

/// The rules of the command line.
fn allowed(options: &Options) -> Result<Layer, Failure> {
    let (hosts, purposes) = (&options.allow, &options.purposes);
    if purposes.len() != hosts.len() && purposes.len() > 1 {
        return Err(Failure::new(format!("{} times --allow and {} times --purpose", hosts.len(), purposes.len()))
            .next("give one --purpose for each --allow, in their order, or one for all"));
    }
    let purposes = purposes.iter().map(String::as_str).cycle();
    command_line(hosts.iter().map(String::as_str).zip(purposes)).map_err(Failure::new)
}

fn status(ended: &RunEnded) -> ExitCode {
    match (ended.code, ended.signal) {
        (Some(code), _) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(exit::OURS)),
        (None, Some(signal)) => {
            if signal == rustix::process::Signal::INT.as_raw() {
                // As the command itself would have: so that a shell's loop around us stops at Ctrl-C.
                cofferdam_sys::signals::raise_default(signal);
            }
            ExitCode::from(exit::of_signal(signal))
        }
        (None, None) => ExitCode::from(exit::OURS),
    }
}

fn not_executed(plan: &RunPlan, errno: i32) -> Failure {
    let name = plan.enclosure.argv.first().map(|a| output::visible(&a.0)).unwrap_or_default();
    let error = rustix::io::Errno::from_raw_os_error(errno);
    match error {
        rustix::io::Errno::NOENT => {
            Failure::new(format!("`{name}` is not there inside the enclosure")).code(exit::NOT_FOUND).next(
                "what lies in your home is hidden but for toolchains found by PATH; \
                 `coffer run --dry-run` shows what is visible",
            )
        }
        other => Failure::new(format!("`{name}` cannot be executed: {}", std::io::Error::from(other).kind()))
            .code(exit::NOT_EXECUTABLE),
    }
}

/// Who runs: an agent with its version.
fn who(plan: &RunPlan) -> String {
    let version = plan.known.as_ref().and_then(|known| known.version.as_deref());
    let unattended = plan.known.as_ref().is_some_and(|known| known.unattended);
    let who = [Some(plan.agent.as_str()), version, unattended.then_some("unattended")];
    output::visible(who.into_iter().flatten().collect::<Vec<_>>().join(" ").as_bytes())
}

/// What to do where the store cannot be written.
const NO_EVIDENCE: &str = "nothing runs without its evidence: see that the store can be written, then run it again";

/// What coffer says around a run. Standard output is the command's alone.
struct Voice {
    quiet: bool,
    json: bool,
    colour: bool,
}

impl Voice {
    fn speaks(&self) -> bool {
        !self.quiet && !self.json && rustix::termios::isatty(rustix::stdio::stderr())
    }

    fn mark(&self, run: &cofferdam_core::RunId) -> String {
        output::styled(&format!("▌{}", run.short()), "36", self.colour)
    }

    fn begin(&self, host: &Host, plan: &RunPlan) {
        if self.speaks() {
            output::remark(&format!(
                "{} {} in {} · copy-on-write · {}{}",
                self.mark(&plan.run),
                who(plan),
                output::visible(host.short(plan.project.as_path()).as_os_str().as_encoded_bytes()),
                match allowed_hosts(&plan.network, Timestamp::now()) {
                    0 => "no network".to_owned(),
                    hosts => format!("{} allowed", output::counted(hosts as u64, "endpoint")),
                },
                credential_names(&plan.network)
                    .iter()
                    .map(|(name, exposed)| format!(
                        " · credential {name}{}",
                        if *exposed { " as placeholder" } else { "" }
                    ))
                    .collect::<String>(),
            ));
            for note in &plan.notes {
                output::remark(&format!("  note        {}", output::visible(note.as_bytes())));
            }
        }
    }

    /// Where ports are reached, which the person may have left to us: without a terminal too.
    fn published(&self, published: &[Listening]) {
        if self.quiet || self.json {
            return;
        }
        for listening in published {
            output::remark(&super::publish::line(listening));
            if let Some(warning) = super::publish::warning(listening).filter(|_| !self.speaks()) {
                output::remark(&format!("  note        {warning}"));
            }
        }
    }

    fn end(&self, summary: &Summary) -> Result<(), Failure> {
        if self.json {
            output::json_remark(summary)?;
        }
        if !self.speaks() {
            return Ok(());
        }
        let ended = &summary.ended;
        let how = match (ended.reason, ended.code, ended.signal) {
            (_, Some(code), _) => format!("exit {code}"),
            (_, _, Some(signal)) => format!("killed by signal {signal}"),
            (EndReason::InitDied, ..) => "killed from outside".to_owned(),
            _ => "ended".to_owned(),
        };
        output::remark(&format!(
            "{} ended after {}, {how}",
            self.mark(&summary.run),
            output::duration(ended.milliseconds)
        ));
        for line in lines(summary) {
            output::remark(&line);
        }
        Ok(())
    }
}

/// Most denials that are shown.
const DENIALS: usize = 3;

/// Most published ports that are shown.
const PUBLISHED: usize = 3;

fn published_line(ended: &NetUnpublished) -> String {
    let unanswered = if ended.unanswered > 0 { format!(", {} not answered", ended.unanswered) } else { String::new() };
    format!("  published   {}: {}{unanswered}", ended.port, output::counted(ended.connections, "connection"))
}

/// What left and what did not, with what to type to allow it.
fn network_lines(network: &NetworkSummary) -> Vec<String> {
    let mut parts = Vec::new();
    let hosts = output::counted(network.hosts, "host");
    let totals = &network.totals;
    if totals.requests > 0 {
        parts.push(format!("{} to {hosts}", output::counted(totals.requests, "request")));
    } else if totals.connections > 0 {
        parts.push(format!("{} to {hosts}", output::counted(totals.connections, "connection")));
    }
    let denied = totals.denied.saturating_sub(network.quiet);
    if denied > 0 {
        parts.push(format!("{denied} denied"));
    }
    if let Some(datagrams @ 1..) = totals.datagrams {
        parts.push(format!("{} refused", output::counted(datagrams, "datagram")));
    }
    let mut out: Vec<String> = network.published.iter().take(PUBLISHED).map(published_line).collect();
    if !parts.is_empty() {
        out.push(format!("  network     {}", parts.join(", ")));
    }
    if network.quiet > 0 {
        let what = output::counted(network.quiet, "request");
        out.push(format!("  quiet       {what} for telemetry and updates refused: coffer log --kind net.denied"));
    }
    let listened: Vec<String> = network.listened.iter().take(PUBLISHED).map(u16::to_string).collect();
    if let Some(first) = listened.first() {
        out.push(format!("  listened    {}: coffer run --publish {first} … lets you reach it", listened.join(", ")));
    }
    for denied in network.denied.iter().take(DENIALS) {
        let times = if denied.count > 1 { format!(" ({} times)", denied.count) } else { String::new() };
        let what = format!("{}:{}: {}{times}", denied.host, denied.port, denied.detail);
        out.push(format!("  denied      {}", output::visible(what.as_bytes())));
        if let Some(allow) = &denied.allow {
            out.push(format!("              {}", output::visible(allow.as_bytes())));
        }
    }
    if network.denied.len() > DENIALS {
        out.push(format!("              and {} more: coffer log --kind net.denied", network.denied.len() - DENIALS));
    }
    out
}

/// The body of a summary: at most a dozen lines, and what to type next.
fn lines(summary: &Summary) -> Vec<String> {
    let ended = &summary.ended;
    let mut out = Vec::new();
    if ended.changed == 0 {
        let ignored = if ended.ignored > 0 {
            format!(" ({} ignored or generated)", output::counted(ended.ignored, "file"))
        } else {
            String::new()
        };
        out.push(format!("  changed     nothing{ignored}"));
    } else {
        let files = ended.files.unwrap_or(ended.changed);
        let mut line = match files {
            0 => format!("  changed     {} (empty directories, pipes, modes)", output::counted(ended.changed, "path")),
            files => format!("  changed     {}", output::counted(files, "file")),
        };
        if let Some((added, removed)) = summary.lines.filter(|_| files > 0) {
            line.push_str(&format!(" +{added} −{removed}"));
        }
        if ended.ignored > 0 {
            line.push_str(&format!(", {} more ignored or generated", ended.ignored));
        }
        out.push(line);
    }
    let tests = summary.last_test.as_ref().map(|last| {
        let (failed, all) = (last.failed, last.passed + last.failed);
        let how = if failed > 0 { format!("{failed} of {all} failed") } else { format!("{} passed", last.passed) };
        format!(" · {}, the last {how}", output::counted(summary.test_runs, "test run"))
    });
    if ended.execs > 1 || tests.is_some() {
        out.push(format!("  recorded    {}{}", output::counted(ended.execs, "exec"), tests.unwrap_or_default()));
    }
    if let Some(network) = &summary.network {
        out.extend(network_lines(network));
    }
    for opened in &summary.tripwires {
        let times = if opened.count > 1 { format!(" {} times", opened.count) } else { String::new() };
        let path = output::visible(&opened.path.0);
        out.push(format!("  tripwire    {path} was opened{times}: a decoy, which only a search for credentials opens"));
    }
    if !summary.tripwires.is_empty() {
        out.push("              who: coffer log --kind tripwire".to_owned());
    }
    if summary.attention > 0 {
        out.push(format!(
            "  attention   {} will execute on this machine once promoted",
            output::counted(summary.attention, "file")
        ));
    }
    if summary.moved > 0 {
        out.push(format!("  meanwhile   {} changed in the real tree too", output::counted(summary.moved, "file")));
    }
    out.extend(summary.notes.iter().take(3).map(|n| format!("  note        {}", output::visible(n.as_bytes()))));
    if ended.changed > 0 {
        out.push("  next        coffer log · coffer diff · coffer promote · coffer discard".to_owned());
    }
    out
}
