//! `coffer blame`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::Bytes;
use cofferdam_review::blame::{Blame, Candidate, LARGEST, Origin, blame as find};
use cofferdam_review::story::clock;
use cofferdam_review::text::{columns, fit, one_line};
use cofferdam_runtime::plan::project_root;
use cofferdam_runtime::promotion::layers;
use cofferdam_runtime::store::Run;
use cofferdam_workspace::promote::latest_applied;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use serde_json::json;

use super::Answer;
use crate::failure::Failure;
use crate::host;
use crate::output::{self, Colour};
use crate::pager::Pager;

/// Columns of the command beside each line.
const COMMAND: usize = 32;
/// Most sources named that the model had read before.
const READ: usize = 5;

/// `coffer blame`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Lines that no promotion brought have a dash. A ? stands where the origin is not certain; \
    PATH:LINE says why.")]
pub struct BlameArgs {
    /// A file of the project, relative to the current directory, and a line of it
    #[arg(value_name = "PATH[:LINE]")]
    what: OsString,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

/// Says which run, command and prompt the lines of a file came from.
pub fn blame(args: &BlameArgs, colour: Colour) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let project = project_root(&host, &store)?;
    let (word, line) = named(&host.cwd, &args.what)?;
    let path = super::relative_to(&project, &host, &word)?;
    let mut runs = super::readable(store.runs()?);
    runs.retain(|run| run.record.project.as_path() == project);
    let mut promoted = Vec::new();
    for run in runs {
        if latest_applied(&run.directory)?.is_some() {
            promoted.push(run);
        }
    }
    let paged = io::stdout().is_terminal() && !args.no_pager && !args.json && line.is_none();
    let mut pager = Pager::start(&host, paged)?;
    let mut readable: Vec<&Path> = vec![&project];
    readable.extend(promoted.iter().map(|run| run.directory.as_path()));
    cofferdam_enclosure::confine_reader(&readable)?;
    let present = read(&project, &path)?;
    let candidates: Vec<Candidate> = promoted.iter().map(|run| candidate(run, &path)).collect();
    let blamed = find(&present, &path, &candidates)?;
    if let Some(line) = line.filter(|line| *line == 0 || *line > blamed.lines.len()) {
        let lines = output::counted(blamed.lines.len() as u64, "line");
        return Err(Failure::new(format!("`{}` has {lines}, no line {line}", output::visible(&path.0))));
    }
    if args.json {
        output::json(&facts(&path, &blamed, line))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = pager.out();
    let written = match line {
        Some(line) => out.write_all(one(&blamed, line).as_bytes()),
        None => listed(&blamed, colour.stdout(), &mut out),
    };
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(Failure::new(format!("standard output: {e}"))),
        _ => {}
    }
    drop(out);
    pager.wait()?;
    if blamed.promotions == 0 {
        output::remark("no promotion that stands brought this file: no line of it is from a run");
    }
    Ok(ExitCode::SUCCESS)
}

/// A path, and the line behind its last colon where there is no file of the whole name.
fn named(cwd: &Path, what: &OsStr) -> Result<(OsString, Option<usize>), Failure> {
    let raw = what.as_bytes();
    if cwd.join(what).symlink_metadata().is_ok() {
        return Ok((what.to_owned(), None));
    }
    if let Some(at) = raw.iter().rposition(|b| *b == b':')
        && let Ok(line) = String::from_utf8_lossy(&raw[at + 1..]).parse()
    {
        return Ok((OsStr::from_bytes(&raw[..at]).to_owned(), Some(line)));
    }
    Err(Failure::new(format!("there is no file `{}`", output::visible(raw))).next("coffer blame PATH[:LINE]"))
}

/// The present content. A link is not followed: its target may lie anywhere.
fn read(project: &Path, path: &Bytes) -> Result<Vec<u8>, Failure> {
    let shown = output::visible(&path.0);
    let failed = |e: io::Error| Failure::new(format!("`{shown}` cannot be read: {e}"));
    let root = File::open(project).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(&root, path.as_path(), flags, Mode::empty(), resolve).map_err(|e| failed(e.into()))?;
    let stat = fstat(&fd).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::new(format!("`{shown}` is not a regular file: it has no lines")));
    }
    let mut content = Vec::new();
    File::from(fd).take(LARGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > LARGEST {
        return Err(Failure::new(format!("`{shown}` is larger than {}: it is not compared", output::size(LARGEST))));
    }
    if content[..content.len().min(8000)].contains(&0) {
        return Err(Failure::new(format!("`{shown}` is binary: it has no lines")));
    }
    Ok(content)
}

/// A run with what the path held before and after it, where its workspace still has that: of a discarded one it is gone.
fn candidate(run: &Run, path: &Bytes) -> Candidate {
    let layers = layers(run).ok();
    let base = layers.as_ref().and_then(|layers| layers.open_base(path).ok().flatten()).and_then(bounded);
    let left = layers.as_ref().and_then(|layers| layers.open_new(path).ok()).and_then(bounded);
    Candidate { run: run.record.run.clone(), evidence: run.evidence(), base, left }
}

fn bounded(file: File) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= LARGEST).then_some(content)
}

fn listed(blamed: &Blame, colour: bool, out: &mut impl Write) -> io::Result<()> {
    let digits = blamed.lines.len().to_string().len();
    for (n, (line, origin)) in blamed.lines.iter().enumerate() {
        let origin = origin.map(|at| &blamed.origins[at]);
        let left = origin.map_or("—".to_owned(), |origin| {
            let doubt = if origin.doubt.is_some() { "?" } else { "" };
            let command = origin.command.map_or(String::new(), |seq| format!(" {seq}"));
            fit(&format!("{}{command}{doubt} {}", origin.run.short(), origin.by), COMMAND)
        });
        let pad = " ".repeat(COMMAND.saturating_sub(columns(&left)));
        let style = if origin.is_some() { "36" } else { "2" };
        let text = one_line(&line[..line.len().min(4096)]).replace("\\t", "    ");
        writeln!(out, "{}{pad}  {:>digits$}  {text}", output::styled(&left, style, colour), n + 1)?;
    }
    Ok(())
}

/// All about one line.
fn one(blamed: &Blame, line: usize) -> String {
    let (text, origin) = &blamed.lines[line - 1];
    let mut out = format!("{line}  {}\n", one_line(&text[..text.len().min(4096)]));
    let Some(origin) = origin.map(|at| &blamed.origins[at]) else {
        let why = if blamed.promotions > 0 { ", or it was changed after the promotion" } else { "" };
        out.push_str(&format!("  not from any run{why}\n"));
        return out;
    };
    let Origin {
        run,
        agent,
        promotion,
        promoted,
        change,
        command,
        by,
        prompt,
        asked,
        tested_by,
        tests,
        read,
        read_more,
        doubt,
    } = origin;
    let run = run.short();
    let mut fact = |name: &str, text: String| out.push_str(&format!("  {name:<10}{text}\n"));
    fact("run", format!("{run}, promotion {promotion}, {}", clock(*promoted)));
    if let Some(agent) = agent {
        fact("agent", agent.clone());
    }
    let open = command
        .map_or(format!("coffer log {run} --kind file.changed"), |seq| format!("coffer log {run} --command {seq}"));
    fact("command", command.map_or(by.clone(), |seq| format!("{seq} {by}")));
    fact("change", format!("event {change}"));
    if let Some(prompt) = prompt {
        fact("prompt", format!("{prompt} {}", if asked.is_empty() { "(its text is gone)" } else { asked }));
    }
    if let Some(tested) = tested_by {
        fact("tests", format!("{tests}, by command {tested}, the next that tested"));
    }
    for seen in read.iter().filter(|seen| seen.origin.is_untrusted()).take(READ) {
        fact("read", format!("{} {} {}", seen.seq, seen.origin.words(), seen.what));
    }
    let untrusted = read.iter().filter(|seen| seen.origin.is_untrusted()).count();
    let rest = (read.len() - untrusted.min(READ)) as u64 + read_more;
    if rest > 0 {
        fact(
            "read",
            format!("{} before it was written: coffer log {run} --exposure", output::counted(rest, "more source")),
        );
    }
    if let Some(doubt) = doubt {
        fact("doubt", (*doubt).to_owned());
    }
    fact("open", open);
    out
}

fn facts(path: &Bytes, blamed: &Blame, line: Option<usize>) -> serde_json::Value {
    let lines: Vec<_> = (1..)
        .zip(&blamed.lines)
        .filter(|(n, _)| line.is_none_or(|line| line == *n))
        .map(|(n, (text, origin))| json!({"line": n, "text": Bytes::from(text.as_slice()), "origin": origin}))
        .collect();
    json!({"path": path, "lines": lines, "origins": blamed.origins})
}
