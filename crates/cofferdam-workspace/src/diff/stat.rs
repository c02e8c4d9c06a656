//! The table with a bar for each file (`--stat`), scaled as git does it (`show_stats` in diff.c).

use std::io::{self, Write};

use super::{Diff, FileDiff, Theme};

impl Diff {
    /// Prints the table, `width` columns wide, and the totals.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn stat(&self, width: usize, theme: Option<Theme<'_>>, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<Row<'_>> = self.files.iter().map(|file| Row { file, name: file.print_name() }).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let layout = Layout::new(&rows, width);
        for row in &rows {
            layout.row(row, theme, out)?;
        }
        self.shortstat(out)
    }

    /// Prints the totals only (`--shortstat`).
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn shortstat(&self, out: &mut impl Write) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let text = || self.files.iter().filter(|file| !file.binary);
        let (added, deleted) = (text().map(|f| f.added).sum::<u64>(), text().map(|f| f.deleted).sum::<u64>());
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let count = self.files.len() as u64;
        write!(out, " {count} file{} changed", plural(count))?;
        if added > 0 || deleted == 0 {
            write!(out, ", {added} insertion{}(+)", plural(added))?;
        }
        if deleted > 0 || added == 0 {
            write!(out, ", {deleted} deletion{}(-)", plural(deleted))?;
        }
        out.write_all(b"\n")
    }
}

struct Row<'a> {
    file: &'a FileDiff,
    /// Quoted: one column a byte.
    name: Vec<u8>,
}

impl Row<'_> {
    /// Sizes of a binary file, old and new; nothing where its content is the same.
    fn sizes(&self) -> (u64, u64) {
        let (old, new) = (self.file.old, self.file.new);
        if old.zip(new).is_some_and(|(old, new)| old.id == new.id) {
            return (0, 0);
        }
        (old.map_or(0, |side| side.size), new.map_or(0, |side| side.size))
    }

    fn change(&self) -> u64 {
        self.file.added + self.file.deleted
    }
}

struct Layout {
    name: usize,
    number: usize,
    graph: usize,
    largest: u64,
}

fn digits(n: u64) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// A value on a bar of `width` for `largest`; at least one for anything but nought.
fn scale(value: u64, width: u64, largest: u64) -> u64 {
    if value == 0 { 0 } else { 1 + value * (width - 1) / largest }
}

impl Layout {
    fn new(rows: &[Row<'_>], width: usize) -> Layout {
        let longest = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let largest = rows.iter().filter(|row| !row.file.binary).map(Row::change).max().unwrap_or(0);
        let binary = rows
            .iter()
            .filter(|row| row.file.binary)
            .map(|row| {
                let (old, new) = row.sizes();
                14 + digits(old) + digits(new)
            })
            .max()
            .unwrap_or(0);
        let number = digits(largest).max(if binary > 0 { 3 } else { 0 });
        // At least 10 columns of name and 6 of bar.
        let width = width.max(16 + 6 + number);
        let wanted = usize::try_from(largest).unwrap_or(usize::MAX);
        let mut graph = if wanted.saturating_add(4) > binary { wanted } else { binary - 4 };
        let mut name = longest;
        if name.saturating_add(number + 6).saturating_add(graph) > width {
            graph = graph.min((width * 3 / 8).saturating_sub(number + 6).max(6));
            if name > width - number - 6 - graph {
                name = width - number - 6 - graph;
            } else {
                graph = width - number - 6 - name;
            }
        }
        Layout { name, number, graph, largest }
    }

    fn row(&self, row: &Row<'_>, theme: Option<Theme<'_>>, out: &mut impl Write) -> io::Result<()> {
        let (mut prefix, mut name, mut width) = ("", row.name.as_slice(), self.name);
        if width < name.len() {
            prefix = "...";
            width = width.saturating_sub(3);
            name = &name[name.len() - width..];
            if let Some(slash) = name.iter().position(|b| *b == b'/') {
                name = &name[slash..];
            }
        }
        write!(out, " {prefix}")?;
        out.write_all(name)?;
        write!(out, "{:padding$} | ", "", padding = width - name.len())?;
        let (old, new, reset) = theme.map_or(("", "", ""), |theme| (theme.old, theme.new, theme.reset));
        if row.file.binary {
            write!(out, "{:>1$}", "Bin", self.number)?;
            let (before, after) = row.sizes();
            if before > 0 || after > 0 {
                write!(out, " {old}{before}{reset} -> {new}{after}{reset} bytes")?;
            }
            return out.write_all(b"\n");
        }
        let (mut added, mut deleted) = (row.file.added, row.file.deleted);
        write!(out, "{:>1$}", added + deleted, self.number)?;
        let graph = self.graph as u64;
        if graph <= self.largest {
            let mut total = scale(added + deleted, graph, self.largest);
            if total < 2 && added > 0 && deleted > 0 {
                total = 2;
            }
            if added < deleted {
                added = scale(added, graph, self.largest);
                deleted = total - added;
            } else {
                deleted = scale(deleted, graph, self.largest);
                added = total - deleted;
            }
        }
        if added + deleted > 0 {
            out.write_all(b" ")?;
        }
        for (count, mark, colour) in [(added, "+", new), (deleted, "-", old)] {
            if count > 0 {
                let bar = mark.repeat(usize::try_from(count).unwrap_or(0));
                write!(out, "{colour}{bar}{reset}")?;
            }
        }
        out.write_all(b"\n")
    }
}
