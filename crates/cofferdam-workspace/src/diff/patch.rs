//! The patch, byte for byte as `git diff` prints it.

use std::io::{self, Write};

use super::content::ObjectId;
use super::file::{FileDiff, Part, Side};
use super::quote::{name, push_name};
use super::sanitize::push_visible;
use super::{Diff, Status};

/// How a patch is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PatchStyle<'a> {
    /// Whole object ids instead of seven digits (`--full-index`).
    pub full_index: bool,
    /// Colours; `None` for plain text.
    pub theme: Option<Theme<'a>>,
    /// Write out control, bidirectional and invisible characters of content, for a terminal. The result no longer
    /// applies as a patch where there are any. Names are always quoted.
    pub sanitize: bool,
}

/// The escape sequences around each kind of line.
#[derive(Clone, Copy, Debug)]
pub struct Theme<'a> {
    /// File headers.
    pub meta: &'a str,
    /// Hunk headers.
    pub frag: &'a str,
    /// Deleted lines.
    pub old: &'a str,
    /// Added lines.
    pub new: &'a str,
    /// Ends each of them.
    pub reset: &'a str,
}

impl Theme<'static> {
    /// git's default colours.
    pub const GIT: Theme<'static> =
        Theme { meta: "\x1b[1m", frag: "\x1b[36m", old: "\x1b[31m", new: "\x1b[32m", reset: "\x1b[m" };
    const PLAIN: Theme<'static> = Theme { meta: "", frag: "", old: "", new: "", reset: "" };
}

impl Diff {
    /// Prints the patch.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn patch(&self, style: &PatchStyle<'_>, out: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            file.patch(style, out)?;
        }
        Ok(())
    }
}

impl FileDiff {
    /// Prints this file's part of the patch.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn patch(&self, style: &PatchStyle<'_>, out: &mut impl Write) -> io::Result<()> {
        let theme = style.theme.unwrap_or(Theme::PLAIN);
        for part in &self.parts {
            for line in self.header(part, style) {
                write_line(out, theme.meta, &line, theme.reset)?;
            }
            write_content(self, part, style, &theme, out)?;
        }
        Ok(())
    }

    /// The extended header's lines, without their newlines.
    fn header(&self, part: &Part, style: &PatchStyle<'_>) -> Vec<Vec<u8>> {
        let mut first = b"diff --git ".to_vec();
        push_name(&mut first, b"a/", &self.old_path.0);
        first.push(b' ');
        push_name(&mut first, b"b/", &self.new_path.0);
        let mut lines = vec![first];
        match (part.old, part.new) {
            (None, Some(new)) => lines.push(format!("new file mode {:06o}", new.mode).into_bytes()),
            (Some(old), None) => lines.push(format!("deleted file mode {:06o}", old.mode).into_bytes()),
            (Some(old), Some(new)) if old.mode != new.mode => {
                lines.push(format!("old mode {:06o}", old.mode).into_bytes());
                lines.push(format!("new mode {:06o}", new.mode).into_bytes());
            }
            _ => {}
        }
        if let (Status::Renamed, Some(similarity)) = (self.status, self.similarity) {
            lines.push(format!("similarity index {similarity}%").into_bytes());
            lines.push([b"rename from ".to_vec(), name(&self.old_path.0)].concat());
            lines.push([b"rename to ".to_vec(), name(&self.new_path.0)].concat());
        }
        lines.extend(index_line(part.old, part.new, style));
        lines
    }
}

fn index_line(old: Option<Side>, new: Option<Side>, style: &PatchStyle<'_>) -> Option<Vec<u8>> {
    let id = |side: Option<Side>| {
        let id = side.map_or(ObjectId::UNKNOWN, |side| side.id).hex();
        if style.full_index { id } else { id[..7].to_owned() }
    };
    match (old, new) {
        (Some(old), Some(new)) if old.id == new.id && old.id != ObjectId::UNKNOWN => None,
        (Some(a), Some(b)) if a.mode == b.mode => {
            Some(format!("index {}..{} {:06o}", id(old), id(new), a.mode).into_bytes())
        }
        _ => Some(format!("index {}..{}", id(old), id(new)).into_bytes()),
    }
}

fn write_line(out: &mut impl Write, start: &str, line: &[u8], reset: &str) -> io::Result<()> {
    out.write_all(start.as_bytes())?;
    out.write_all(line)?;
    out.write_all(reset.as_bytes())?;
    out.write_all(b"\n")
}

fn label(side: Option<Side>, prefix: &[u8], path: &[u8]) -> Vec<u8> {
    if side.is_none() {
        return b"/dev/null".to_vec();
    }
    let mut out = Vec::new();
    push_name(&mut out, prefix, path);
    out
}

fn write_content(
    file: &FileDiff,
    part: &Part,
    style: &PatchStyle<'_>,
    theme: &Theme<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let old = label(part.old, b"a/", &file.old_path.0);
    let new = label(part.new, b"b/", &file.new_path.0);
    let same = part.old.zip(part.new).is_some_and(|(old, new)| old.id == new.id && old.id != ObjectId::UNKNOWN);
    if part.binary && !same {
        let line = [b"Binary files ".as_slice(), &old, b" and ", &new, b" differ"].concat();
        return write_line(out, "", &line, "");
    }
    if part.hunks.is_empty() {
        return Ok(());
    }
    for (mark, label) in [(&b"--- "[..], &old), (b"+++ ", &new)] {
        // A tab ends a name with spaces, so that patch(1) does not take what follows for a date.
        let tab: &[u8] = if label.contains(&b' ') { b"\t" } else { b"" };
        let line = [mark, label].concat();
        out.write_all(theme.meta.as_bytes())?;
        out.write_all(&line)?;
        out.write_all(theme.reset.as_bytes())?;
        out.write_all(tab)?;
        out.write_all(b"\n")?;
    }
    for hunk in &part.hunks {
        let span = |(start, count): (usize, usize)| {
            if count == 1 { start.to_string() } else { format!("{start},{count}") }
        };
        let ranges = format!("@@ -{} +{} @@", span(hunk.old), span(hunk.new));
        out.write_all(theme.frag.as_bytes())?;
        out.write_all(ranges.as_bytes())?;
        out.write_all(theme.reset.as_bytes())?;
        if !hunk.function.is_empty() {
            out.write_all(b" ")?;
            // git's buffer for the whole header has 128 bytes (xdl_format_hunk_hdr).
            let room = 126usize.saturating_sub(ranges.len());
            write_text(out, sane(&hunk.function[..hunk.function.len().min(room)]), style)?;
        }
        out.write_all(b"\n")?;
        write_body(&hunk.body, style, theme, out)?;
    }
    Ok(())
}

/// Cut where it stops being text, as a character cut in two does (`sane_truncate_line` in diff.c).
fn sane(function: &[u8]) -> &[u8] {
    let valid = function.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    // git takes these two for no characters at all.
    let end = valid.find(['\u{fffe}', '\u{ffff}']).unwrap_or(valid.len());
    &function[..end]
}

fn write_body(body: &[u8], style: &PatchStyle<'_>, theme: &Theme<'_>, out: &mut impl Write) -> io::Result<()> {
    if style.theme.is_none() && !style.sanitize {
        return out.write_all(body);
    }
    for line in body.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (start, reset) = match line.first() {
            Some(b'-') => (theme.old, theme.reset),
            Some(b'+') => (theme.new, theme.reset),
            _ => ("", ""),
        };
        out.write_all(start.as_bytes())?;
        write_text(out, line, style)?;
        out.write_all(reset.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_text(out: &mut impl Write, text: &[u8], style: &PatchStyle<'_>) -> io::Result<()> {
    if !style.sanitize {
        return out.write_all(text);
    }
    let mut visible = Vec::with_capacity(text.len());
    push_visible(&mut visible, text);
    out.write_all(&visible)
}
