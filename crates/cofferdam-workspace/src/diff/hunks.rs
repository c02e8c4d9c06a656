//! The changed lines of one text, as the hunks of a unified diff.

use gix_imara_diff::{Algorithm, Diff, InternedInput, sources};

/// One hunk, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hunk {
    /// First line and number of lines on each side, as the header has them.
    pub old: (usize, usize),
    pub new: (usize, usize),
    /// The line that names the function, for the header; empty where there is none.
    pub function: Vec<u8>,
    /// Lines with their mark (space, `-`, `+`, or `\` for git's remark on a missing newline), each ended by a newline.
    pub body: Vec<u8>,
}

/// The hunks between two texts, and how many lines were added and deleted.
#[derive(Debug, Default)]
pub(crate) struct Hunks {
    pub list: Vec<Hunk>,
    pub added: u64,
    pub deleted: u64,
}

/// Whether git would call it binary: a NUL within the first 8000 bytes (`buffer_is_binary`).
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(8000)].contains(&0)
}

struct Change {
    old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
}

/// git's default: Myers with the indent heuristic. `bodies` false only counts.
pub(crate) fn hunks(old: &[u8], new: &[u8], context: usize, bodies: bool) -> Hunks {
    let input = InternedInput::new(sources::byte_lines(old), sources::byte_lines(new));
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    let (added, deleted) = (u64::from(diff.count_additions()), u64::from(diff.count_removals()));
    let mut answer = Hunks { list: Vec::new(), added, deleted };
    if !bodies {
        return answer;
    }
    diff.postprocess_lines(&input);
    let range = |r: std::ops::Range<u32>| r.start as usize..r.end as usize;
    let changes: Vec<Change> =
        diff.hunks().map(|hunk| Change { old: range(hunk.before), new: range(hunk.after) }).collect();
    let old_lines: Vec<&[u8]> = sources::byte_lines(old).collect();
    let new_lines: Vec<&[u8]> = sources::byte_lines(new).collect();
    let mut functions = Functions { lines: &old_lines, searched: 0, last: Vec::new() };
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        // Changes closer than twice the context share a hunk (xdl_get_hunk).
        let near = |pair: &[Change]| pair[1].old.start - pair[0].old.end <= 2 * context;
        let length = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let (group, others) = rest.split_at(length);
        answer.list.push(hunk(group, &old_lines, &new_lines, context, &mut functions));
        rest = others;
    }
    answer
}

fn hunk(group: &[Change], old: &[&[u8]], new: &[&[u8]], context: usize, functions: &mut Functions<'_>) -> Hunk {
    let (first, last) = (&group[0], &group[group.len() - 1]);
    let before = context.min(first.old.start).min(first.new.start);
    let after = context.min(old.len() - last.old.end).min(new.len() - last.new.end);
    let (old_start, new_start) = (first.old.start - before, first.new.start - before);
    let (old_end, new_end) = (last.old.end + after, last.new.end + after);
    let mut body = Vec::new();
    let mut at = new_start;
    for change in group {
        push(&mut body, b' ', &new[at..change.new.start]);
        push(&mut body, b'-', &old[change.old.clone()]);
        push(&mut body, b'+', &new[change.new.clone()]);
        at = change.new.end;
    }
    push(&mut body, b' ', &new[at..new_end]);
    let header = |start: usize, end: usize| (if end > start { start + 1 } else { start }, end - start);
    Hunk {
        old: header(old_start, old_end),
        new: header(new_start, new_end),
        function: functions.before(old_start).to_vec(),
        body,
    }
}

fn push(body: &mut Vec<u8>, mark: u8, lines: &[&[u8]]) {
    for line in lines {
        body.push(mark);
        body.extend_from_slice(line);
        if line.last() != Some(&b'\n') {
            body.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// Finds the line that names a hunk's function by git's default rule (`def_ff` in xemit.c): the nearest line above
/// the hunk that begins with a letter, `_` or `$`; where there is none since the last hunk, the last hunk's.
struct Functions<'a> {
    lines: &'a [&'a [u8]],
    searched: usize,
    last: Vec<u8>,
}

impl Functions<'_> {
    fn before(&mut self, start: usize) -> &[u8] {
        /// `struct func_line`'s buffer.
        const LONGEST: usize = 80;
        let named = |line: &&&[u8]| line.first().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, b'_' | b'$'));
        if let Some(line) = self.lines[self.searched.min(start)..start].iter().rev().find(named) {
            let cut = &line[..line.len().min(LONGEST)];
            let space = |c: &u8| c.is_ascii_whitespace() || *c == 0x0b;
            let end = cut.iter().rposition(|c| !space(c)).map_or(0, |last| last + 1);
            self.last = cut[..end].to_vec();
        }
        self.searched = start;
        &self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_has_context_function_and_the_remark_on_a_missing_newline() {
        let old = b"fn one() {\n1\n2\n3\n4\n5\n6\n7\n8\n}\nend";
        let new = b"fn one() {\n1\n2\n3\n4\n5\n6\nseven\n8\n}\nend\n";
        let answer = hunks(old, new, 1, true);
        assert_eq!((answer.added, answer.deleted), (2, 2));
        let text: Vec<_> = answer.list.iter().map(|h| String::from_utf8(h.body.clone()).unwrap()).collect();
        assert_eq!(text, [" 6\n-7\n+seven\n 8\n }\n-end\n\\ No newline at end of file\n+end\n"]);
        assert_eq!(answer.list[0].old, (7, 5));
        assert_eq!(answer.list[0].function, b"fn one() {");
    }

    #[test]
    fn an_empty_side_starts_at_line_nought() {
        let answer = hunks(b"", b"a\n", 3, true);
        assert_eq!((answer.list[0].old, answer.list[0].new), ((0, 0), (1, 1)));
        assert!(hunks(b"a\n", b"a\n", 3, true).list.is_empty());
    }

    #[test]
    fn binary_is_a_nul_near_the_start() {
        let mut content = vec![b'a'; 8001];
        content[8000] = 0;
        assert!(!is_binary(&content));
        content[7999] = 0;
        assert!(is_binary(&content));
    }
}
