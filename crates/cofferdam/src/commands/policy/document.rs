//! `coffer policy document`.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_core::event::RuleRef;
use cofferdam_core::{RunId, Timestamp};
use cofferdam_policy::Rule;
use cofferdam_policy::host::in_authority;
use cofferdam_review::document::{Document, Documents, Former, Operation, Refused, Usage};
use cofferdam_review::story::clock;
use cofferdam_review::text::{fit, grouped};
use cofferdam_runtime::plan::Host;
use serde_json::{Value, json};

use super::Read;
use super::listing::{allows, at, facts};
use crate::commands::{Answer, index, readable};
use crate::host;
use crate::output::{self, Colour};

/// What was refused longer ago is left out where nobody asks for it.
const LATELY: &str = "30d";
/// Most rows of what was refused; `--json` has all.
const REFUSED: usize = 40;
/// Columns of a purpose, of names of programs.
const PURPOSE: usize = 60;
const NAMES: usize = 40;

/// `coffer policy document`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A rule that no run used is a candidate for removal. Runs whose evidence is gone are not known any more.\n\
    Example:\n  coffer policy document --markdown > docs/network-use.md"
)]
pub struct DocumentArgs {
    /// From the runs of every project, not of this one only
    #[arg(long, short)]
    all: bool,
    /// Leave out what was refused earlier: so long ago (7d, 12h), or a date or time of UTC
    #[arg(long, value_name = "WHEN", default_value = LATELY)]
    since: String,
    /// Print a document in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Says what needs the network, for which purpose, and when it was last used.
pub fn document(args: &DocumentArgs, colour: Colour) -> Answer {
    let Read { host, places, layers, policy } = super::read_all()?;
    let now = Timestamp::now();
    let since = cofferdam_review::since(&args.since, now)?;
    let store = host::store(&host);
    let mut runs: Vec<RunId> = Vec::new();
    if store.root().is_dir() {
        let of_project = |run: &cofferdam_runtime::store::Run| run.record.project.as_path() == places.project;
        let chosen = readable(store.runs()?).into_iter().filter(|run| args.all || of_project(run));
        runs.extend(chosen.map(|run| run.record.run));
    }
    let mut documents = Documents::new(&policy, since);
    if let Some(index) = index::up_to_date(&store)? {
        for run in &runs {
            documents.take(run, &index.uses(run)?);
        }
    }
    let document = documents.finish();
    let form = Form { now, project: &places.project, host: &host, runs: runs.len() as u64, colour: colour.stdout() };
    if args.json {
        output::json(&form.facts(&document, layers.left_out()))?;
    } else if args.markdown {
        output::print(form.markdown(&document))?;
    } else {
        output::print(form.text(&document))?;
    }
    super::say_left_out(&layers);
    Ok(ExitCode::SUCCESS)
}

/// How a document is written.
struct Form<'a> {
    now: Timestamp,
    project: &'a Path,
    host: &'a Host,
    runs: u64,
    colour: bool,
}

/// A table with its title and heads.
struct Table {
    title: &'static str,
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
    /// What is not in it.
    more: usize,
}

impl Form<'_> {
    fn facts(&self, document: &Document<'_>, left_out: Option<String>) -> Value {
        let operation = |operation: &Operation<'_>| {
            json!({
                "rule": facts(operation.rule, self.now),
                "used": operation.used,
                "unused": operation.used.is_unused(),
            })
        };
        json!({
            "runs": self.runs,
            "operations": document.operations.iter().map(operation).collect::<Vec<_>>(),
            "former": document.former,
            "refused": document.refused,
            "left_out": left_out,
        })
    }

    fn tables(&self, document: &Document<'_>) -> [Table; 3] {
        [
            Table {
                title: "rules",
                heads: &["ENDPOINT", "ALLOWS", "PURPOSE", "RULE", "ENDS", "USED", "LAST", "BY"],
                rows: document.operations.iter().map(|operation| self.operation(operation)).collect(),
                more: 0,
            },
            Table {
                title: "given for a run, or in the policy no more",
                heads: &["ENDPOINT", "PURPOSE", "RULE", "USED", "LAST", "BY"],
                rows: document.former.iter().map(|former| self.former(former)).collect(),
                more: 0,
            },
            Table {
                title: "refused, and would be again",
                heads: &["ENDPOINT", "WHY", "TIMES", "LAST", "BY", "TO ALLOW IT"],
                rows: document.refused.iter().take(REFUSED).map(refused).collect(),
                more: document.refused.len().saturating_sub(REFUSED),
            },
        ]
    }

    fn operation(&self, Operation { rule, used }: &Operation<'_>) -> Vec<String> {
        let scheme = rule.scheme.map(|scheme| format!("{}://", scheme.as_str())).unwrap_or_default();
        let ends = match &rule.expires {
            None => "-".to_owned(),
            Some(expiry) if rule.is_expired(self.now) => format!("ended {}", expiry.written),
            Some(expiry) => expiry.written.clone(),
        };
        let mut row = vec![
            format!("{scheme}{}:{}", in_authority(&rule.host.to_string()), rule.ports()),
            allows(rule).iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
            purpose(&rule.purpose),
            self.rule(rule),
            ends,
        ];
        row.extend(usage(used));
        row
    }

    fn rule(&self, rule: &Rule) -> String {
        match &rule.id.file {
            Some(_) => format!("{}, {}", at(rule), rule.id.layer),
            None => at(rule),
        }
    }

    fn former(&self, Former { rule, purpose: why, used }: &Former) -> Vec<String> {
        let visible = |endpoint: &String| output::visible(endpoint.as_bytes());
        let endpoints = used.endpoints.iter().map(visible).collect::<Vec<_>>().join(", ");
        let mut row = vec![fit(&endpoints, PURPOSE), purpose(why), self.place(rule)];
        row.extend(usage(used));
        row
    }

    fn place(&self, rule: &RuleRef) -> String {
        let layer = output::visible(rule.layer.as_bytes());
        match &rule.file {
            Some(file) => format!("{}:{}, {layer}", super::short(file.as_path(), self.project, self.host), rule.line),
            None => layer,
        }
    }

    fn text(&self, document: &Document<'_>) -> String {
        let mut out = String::new();
        for Table { title, heads, rows, more } in self.tables(document) {
            if rows.is_empty() {
                continue;
            }
            out.push_str(&format!("{}\n", output::styled(title, "1", self.colour)));
            let indented = |mut row: Vec<String>| {
                row[0].insert_str(0, "  ");
                row
            };
            let mut table = vec![indented(heads.iter().map(|head| (*head).to_owned()).collect())];
            table.extend(rows.into_iter().map(indented));
            out.push_str(&output::table(&table));
            if more > 0 {
                out.push_str(&format!("  … {more} more: --json has all\n"));
            }
            out.push('\n');
        }
        match out.is_empty() {
            true => format!("no rules, and nothing left or was refused in {}\n", output::counted(self.runs, "run")),
            false => out,
        }
    }

    fn markdown(&self, document: &Document<'_>) -> String {
        let rules = output::counted(document.operations.len() as u64, "rule");
        let mut out =
            format!("# What needs the network\n\nFrom {rules} and {}.\n", output::counted(self.runs, "recorded run"));
        for Table { title, heads, rows, more } in self.tables(document) {
            if rows.is_empty() {
                continue;
            }
            out.push_str(&format!(
                "\n## {}\n\n| {} |\n",
                capital(title),
                heads.iter().map(|h| capital(&h.to_lowercase())).collect::<Vec<_>>().join(" | ")
            ));
            out.push_str(&format!("|{}\n", " --- |".repeat(heads.len())));
            for row in rows {
                let cells: Vec<String> = row.iter().map(|cell| code(cell)).collect();
                out.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
            if more > 0 {
                out.push_str(&format!("\n… {more} more.\n"));
            }
        }
        out
    }
}

fn refused(refused: &Refused) -> Vec<String> {
    let host = output::visible(refused.host.as_bytes());
    let scheme = output::visible(refused.scheme.as_bytes());
    let Usage { runs, times, last, .. } = &refused.used;
    vec![
        fit(&format!("{scheme}://{}:{}", in_authority(&host), refused.port), PURPOSE),
        output::visible(refused.reason.as_bytes()),
        format!("{} in {}", grouped(*times), output::counted(*runs, "run")),
        date(*last),
        names(&refused.used),
        refused.allow.as_ref().map_or_else(|| "-".to_owned(), |allow| output::visible(allow.as_bytes())),
    ]
}

/// How often, when last, and by whom.
fn usage(used: &Usage) -> [String; 3] {
    match used.is_unused() {
        true => ["never: can it go?".to_owned(), "-".to_owned(), "-".to_owned()],
        false => {
            [format!("{} in {}", grouped(used.times), output::counted(used.runs, "run")), date(used.last), names(used)]
        }
    }
}

fn date(time: Option<Timestamp>) -> String {
    time.and_then(|time| clock(time).get(..10).map(str::to_owned)).unwrap_or_else(|| "-".to_owned())
}

fn names(used: &Usage) -> String {
    let names = used.programs.iter().map(|name| output::visible(name.as_bytes())).collect::<Vec<_>>().join(", ");
    if names.is_empty() { "-".to_owned() } else { fit(&names, NAMES) }
}

fn purpose(text: &str) -> String {
    fit(&output::visible(text.as_bytes()), PURPOSE)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A cell of a table in Markdown as a code span, in which nothing is markup: a fence longer than any in the text (CommonMark,
/// section 6.1), and `|` escaped as tables want it (GitHub's, section 4.10).
fn code(cell: &str) -> String {
    if cell.is_empty() || cell == "-" {
        return cell.to_owned();
    }
    let longest = cell.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if cell.starts_with('`') || cell.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", cell.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_is_markup() {
        for (text, cell) in [
            ("npm", "`npm`"),
            ("a|b", "`a\\|b`"),
            ("`x`", "`` `x` ``"),
            ("a```b", "````a```b````"),
            ("<img src=x>[l](u)", "`<img src=x>[l](u)`"),
            ("-", "-"),
        ] {
            assert_eq!(code(text), cell);
        }
    }
}
