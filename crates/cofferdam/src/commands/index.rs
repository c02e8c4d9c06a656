//! `coffer index`.

use std::process::ExitCode;

use cofferdam_review::index::{Index, Indexed, Updated};
use cofferdam_runtime::store::Store;

use super::Answer;
use crate::failure::Failure;
use crate::host;
use crate::output;
use crate::progress::Progress;

/// `coffer index`.
#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make the index of all runs anew, from their evidence
    Rebuild {
        /// Print facts as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Looks after the index that `coffer log --search` uses.
pub fn index(args: &IndexArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let What::Rebuild { json } = args.what;
    let updated = match runs(&store)? {
        None => Updated::default(),
        Some(runs) => bring_up(&mut Index::anew(store.root())?, &runs)?,
    };
    if json {
        let unread: Vec<_> =
            updated.unread.iter().map(|(run, why)| serde_json::json!({"run": run, "why": why})).collect();
        output::json(&serde_json::json!({"indexed": updated.read, "unread": unread}))?;
    } else {
        output::print(format!("indexed {}\n", output::counted(updated.read, "run")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The index, with all in it that the store has; `None` where nothing ever ran.
pub fn up_to_date(store: &Store) -> Result<Option<Index>, Failure> {
    let Some(runs) = runs(store)? else { return Ok(None) };
    let mut index = Index::open(store.root())?;
    bring_up(&mut index, &runs)?;
    Ok(Some(index))
}

/// The runs that have evidence; from then on this process can reach nothing but the store.
fn runs(store: &Store) -> Result<Option<Vec<Indexed>>, Failure> {
    if !store.root().is_dir() {
        return Ok(None);
    }
    cofferdam_enclosure::confine_writer(&[store.root()])?;
    let with_evidence = |run: &cofferdam_runtime::store::Run| run.evidence().join("log.jsonl").exists();
    let indexed = |run: cofferdam_runtime::store::Run| Indexed { evidence: run.evidence(), run: run.record.run };
    Ok(Some(super::readable(store.runs()?).into_iter().filter(with_evidence).map(indexed).collect()))
}

fn bring_up(index: &mut Index, runs: &[Indexed]) -> Result<Updated, Failure> {
    let mut progress = Progress::new("runs");
    let updated = index.update(runs, &mut |done, all| progress.at("indexing", done, all))?;
    drop(progress);
    if let Some(why) = index.remade() {
        output::remark(&format!("the index was made anew: {why}"));
    }
    for (run, why) in &updated.unread {
        output::complain(&format!("run {run} is not in the index: {why}"));
    }
    Ok(updated)
}
