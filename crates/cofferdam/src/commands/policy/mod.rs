//! `coffer policy`: which rules there are, what is wrong with them, what they would decide, and whose they are.

mod check;
mod document;
pub(super) mod explain;
mod listing;
mod show;
mod suggest;
mod trust;

use std::path::Path;

use cofferdam_policy::{Layer, Layers, Places, Policy, Style};
use cofferdam_runtime::plan::{Host, project_root, resolving, trust_store};

use super::Answer;
use super::run::no_plan;
use crate::failure::Failure;
use crate::output::{self, Colour};

/// `coffer policy`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct PolicyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show everything that is wrong with a policy file
    Check(check::CheckArgs),
    /// Show all rules: where they stand, what they allow, why and how long
    Show(show::ShowArgs),
    /// Say what the policy decides about a URL or host, and which rule decides
    Explain(explain::ExplainArgs),
    /// Say what needs the network, for which purpose, and when it was last used
    Document(document::DocumentArgs),
    /// Propose the least rules that a run needed
    Suggest(suggest::SuggestArgs),
    /// Trust the project's policy file as it is now
    Trust(trust::TrustArgs),
}

/// Answers.
pub fn policy(args: &PolicyArgs, colour: Colour) -> Answer {
    match &args.action {
        Action::Check(args) => check::check(args, colour),
        Action::Show(args) => show::show(args, colour),
        Action::Explain(args) => explain::explain(args, colour),
        Action::Document(args) => document::document(args, colour),
        Action::Suggest(args) => suggest::suggest(args),
        Action::Trust(args) => trust::trust(args, colour),
    }
}

/// What is read to show and to decide.
pub(super) struct Read {
    pub(super) host: Host,
    pub(super) places: Places,
    pub(super) layers: Layers,
    pub(super) policy: Policy,
}

/// Reads the layers of the current project, and makes a policy of those that count; of a run that resolves where that is
/// asked for.
pub(super) fn read(resolve: bool) -> Result<Read, Failure> {
    read_where(|_| resolve)
}

/// As [`read`], with the rules of runs that resolve where policy names registries.
fn read_all() -> Result<Read, Failure> {
    read_where(|layers| !layers.registries().is_empty())
}

fn read_where(resolve: impl FnOnce(&Layers) -> bool) -> Result<Read, Failure> {
    let host = crate::host::host()?;
    let places = places(&host)?;
    let layers = Layers::read(&places)?;
    let mut asked = Layer::default();
    if resolve(&layers) {
        let mut notes = Vec::new();
        asked.rules = resolving(&host, &layers, &mut notes).map_err(no_plan)?;
        notes.iter().for_each(|note| output::complain(&output::visible(note.as_bytes())));
    }
    let policy = layers.policy(asked)?;
    Ok(Read { host, places, layers, policy })
}

/// Where the layers of the current project lie.
pub(super) fn places(host: &Host) -> Result<Places, Failure> {
    let store = crate::host::store(host);
    let project = project_root(host, &store)?;
    Ok(Places { person: crate::host::person_policy(host), project, trust: trust_store(&store) })
}

/// Says in a line why the project's layer contributes nothing, where it does not.
pub(super) fn say_left_out(layers: &Layers) {
    if let Some(line) = layers.left_out() {
        output::complain(&line);
    }
}

/// How errors of files are shown.
pub(super) fn style(colour: bool) -> Style {
    Style { colour, safe: output::visible }
}

/// A path as people write it: from the project or the home, where it lies there.
pub(super) fn short(path: &Path, project: &Path, host: &Host) -> String {
    let text = path.strip_prefix(project).map_or_else(|_| host.short(path), Path::to_owned);
    output::visible(text.as_os_str().as_encoded_bytes())
}
