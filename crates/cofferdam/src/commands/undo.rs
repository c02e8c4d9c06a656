//! `coffer undo`.

use std::process::ExitCode;

use cofferdam_runtime::promotion::Held;
use cofferdam_runtime::secrets;

use super::{Answer, Target};
use crate::failure::Failure;
use crate::host;
use crate::output;
use crate::progress::Progress;

/// `coffer undo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Restores bytes, modes and modification times. A path that changed since the promotion stays as it is \
    and is listed.\nExit codes: 0 undone; 1 some paths stay; 125 an error."
)]
pub struct UndoArgs {
    /// The run whose latest promotion is taken back (default: the latest promoted run here)
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Takes a promotion back.
pub fn undo(args: &UndoArgs) -> Answer {
    let host = host::host()?;
    let store = host::store(&host);
    let target = match &args.run {
        Some(name) => Target::find(&host, &store, name)?,
        None => Target::latest_promoted(&host, &store)?,
    };
    let held = Held::take(target.run, secrets::of_host(&host).secrets)?;
    super::confine(&held, &store)?;
    let name = held.run().record.run.short().to_owned();
    let mut progress = Progress::new("files");
    let undone = held.undo(&mut progress.hook())?;
    drop(progress);
    let code = ExitCode::from(u8::from(!undone.refused.is_empty()));
    if args.json {
        output::json(&serde_json::json!({
            "run": name,
            "promotion": undone.of,
            "restored": undone.restored,
            "refused": undone.refused.iter().map(|r| serde_json::json!({"path": r.path, "why": r.why})).collect::<Vec<_>>(),
        }))?;
        return Ok(code);
    }
    let mut text = String::new();
    if undone.outcome.is_some() {
        text.push_str(&format!("took back promotion {} of run {name}\n", undone.of));
        text.push_str(&super::listed(&undone.restored));
    }
    for refused in &undone.refused {
        text.push_str(&format!(
            "  stays {}  {}\n",
            output::visible(&refused.path.0),
            output::visible(refused.why.as_bytes())
        ));
    }
    output::print(text)?;
    if undone.outcome.is_none() {
        return Err(Failure::new("nothing was undone: every path changed since the promotion").code(1));
    }
    Ok(code)
}
