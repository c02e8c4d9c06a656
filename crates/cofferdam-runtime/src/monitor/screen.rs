//! What the terminal shows while a command runs that tests: the terminal itself belongs to no command.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;

/// Most bytes kept of what is shown while one command runs: so many of the beginning, and as many of the end.
const KEPT: usize = 256 << 10;
/// Most commands watched at once; the outer ones of a deeper nest.
const MOST: usize = 16;
/// The kernel hands on what a process wrote a moment later, which may be after its end. The next exec comes later still,
/// and ends the wait.
const LATE: Duration = Duration::from_millis(20);

/// The commands that test and have a terminal to print to.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// By process.
    watched: BTreeMap<u32, Stretch>,
    /// Those that have ended, and when.
    ended: Vec<(Instant, Stretch)>,
    /// How many of them ended before the last exec.
    past: usize,
}

/// What was shown from a command's exec on.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Its `process.exec`.
    pub(super) exec: u64,
    /// Its arguments.
    pub(super) argv: Vec<Bytes>,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cut: bool,
}

impl Stretch {
    fn shown(&mut self, output: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(output.len());
        let (first, rest) = output.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        if self.tail.len() > KEPT {
            self.tail.drain(..self.tail.len() - KEPT);
            self.cut = true;
        }
    }

    /// The whole, and nothing; or the beginning and the end.
    pub(super) fn text(self) -> (Vec<u8>, Vec<u8>) {
        let (mut head, tail) = (self.head, Vec::from(self.tail));
        if self.cut {
            return (head, tail);
        }
        head.extend(tail);
        (head, Vec::new())
    }
}

impl Screen {
    /// A process executed something that prints to the terminal: what is shown from now on is not of those that have ended.
    pub(super) fn executed(&mut self) {
        self.past = self.ended.len();
    }

    /// Whether what is there to be read may belong to a command that has ended.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ended.is_empty()
    }

    /// A process executed a command that tests. Where it has executed one before, that one goes on as this.
    pub(super) fn begin(&mut self, pid: u32, exec: u64, argv: Vec<Bytes>) {
        if let Some(stretch) = self.watched.get_mut(&pid) {
            (stretch.exec, stretch.argv) = (exec, argv);
        } else if self.watched.len() < MOST {
            let stretch = Stretch { exec, argv, head: Vec::new(), tail: VecDeque::new(), cut: false };
            self.watched.insert(pid, stretch);
        }
    }

    /// The terminal shows this.
    pub(super) fn shown(&mut self, output: &[u8]) {
        let ended = self.ended.iter_mut().map(|(_, stretch)| stretch);
        self.watched.values_mut().chain(ended).for_each(|stretch| stretch.shown(output));
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, pid: u32) {
        if let Some(stretch) = self.watched.remove(&pid) {
            self.ended.push((Instant::now(), stretch));
        }
    }

    /// When a command's output is complete although nothing happens.
    pub(super) fn due(&self) -> Option<Duration> {
        let wait = |since: &Instant| if self.past > 0 { Duration::ZERO } else { LATE.saturating_sub(since.elapsed()) };
        self.ended.first().map(|(since, _)| wait(since))
    }

    /// What is complete, in the order in which the commands ended; at the end of the run that is everything.
    pub(super) fn complete(&mut self, over: bool) -> Vec<Stretch> {
        let past = std::mem::take(&mut self.past);
        let late = |(since, _): &(Instant, Stretch)| !over && since.elapsed() < LATE;
        let first = self.ended.iter().skip(past).position(late).map_or(self.ended.len(), |at| at + past);
        self.ended.drain(..first).map(|(_, stretch)| stretch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_what_was_shown_while_it_ran() {
        let mut screen = Screen::default();
        screen.shown(b"before ");
        screen.begin(7, 1, vec!["npm".into()]);
        screen.shown(b"outer ");
        screen.begin(8, 2, vec!["jest".into()]);
        screen.shown(b"both ");
        screen.ended(8);
        assert!(screen.complete(false).is_empty() && screen.due().is_some_and(|due| due <= LATE));
        screen.shown(b"late ");
        screen.begin(7, 3, vec!["node".into()]);
        screen.ended(7);
        screen.ended(9);
        let texts: Vec<_> = screen.complete(true).into_iter().map(|s| (s.exec, s.text().0)).collect();
        assert_eq!(texts, [(2, b"both late ".to_vec()), (3, b"outer both late ".to_vec())]);
        assert!(screen.due().is_none());
    }

    #[test]
    fn of_much_the_ends_are_kept() {
        let mut screen = Screen::default();
        screen.begin(1, 1, Vec::new());
        screen.shown(&[b'a'; KEPT]);
        screen.shown(&[b'b'; KEPT]);
        screen.shown(b"c");
        screen.ended(1);
        assert!(screen.complete(false).is_empty());
        screen.executed();
        assert!(screen.due().is_some_and(|due| due.is_zero()) && screen.is_waiting());
        let (head, tail) = screen.complete(false).remove(0).text();
        assert!(head == [b'a'; KEPT] && tail.len() == KEPT && tail.ends_with(b"bc"));
    }
}
