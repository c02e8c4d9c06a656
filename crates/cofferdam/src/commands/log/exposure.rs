//! What models had read before they wrote.

use std::io::Write;

use cofferdam_core::Bytes;
use cofferdam_review::exposure::{Exposure, Origin, Seen};
use cofferdam_review::text::{counted, fit, one_line};
use serde_json::json;

use super::Printing;
use crate::output;

/// Most sources listed of a file.
const LISTED: usize = 20;

/// Prints the sources of each changed file, of those of `path` or below it where there is one.
pub fn exposure(
    found: &Exposure,
    path: Option<&Bytes>,
    json: bool,
    width: usize,
    out: &mut impl Write,
) -> Result<(), Printing> {
    let files = found.files(path);
    if json {
        return Ok(output::json(&json!({"files": files, "beyond": found.beyond}))?);
    }
    for file in &files {
        let by = file.call.map_or(String::new(), |call| format!(", by call {call}"));
        writeln!(out, "{}", fit(&format!("{}  (change {}{by})", one_line(&file.path.0), file.change), width))?;
        let listed: Vec<&Seen> = file.seen.iter().filter(|seen| seen.origin != Origin::Project).collect();
        for seen in listed.iter().take(LISTED) {
            let time = seen.time.to_string();
            let clock = time.get(11..19).unwrap_or_default();
            let line = format!("{:>6}  {clock}  {:<8} {}  ({})", seen.seq, seen.origin.words(), seen.what, seen.tool);
            writeln!(out, "{}", fit(&line, width))?;
        }
        let more = (listed.len().saturating_sub(LISTED)) as u64 + file.more;
        if more > 0 {
            writeln!(out, "        … {}", counted(more, "more source"))?;
        }
        let own = (file.seen.len() - listed.len()) as u64;
        let line = match (own, listed.is_empty()) {
            (0, true) => "        nothing that is known".to_owned(),
            (own, true) => format!("        {} of the project only", counted(own, "file")),
            (own, false) => format!("        and {} of the project", counted(own, "file")),
        };
        writeln!(out, "{line}")?;
    }
    if files.is_empty() {
        output::remark("no such file changed");
    }
    Ok(())
}
