//! What the terminal shows while a command runs that tests: the terminal itself belongs to no command.

use std::collections::{BTreeMap, VecDeque};

use cofferdam_core::Bytes;

/// Most bytes kept of what is shown while one command runs: so many of the beginning, and as many of the end.
const KEPT: usize = 256 << 10;
/// Most commands watched at once; the outer ones of a deeper nest.
const MOST: usize = 16;

/// The commands that test and have a terminal to print to.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// By process.
    watched: BTreeMap<u32, Stretch>,
    /// Those that have ended, in this order.
    ended: Vec<Stretch>,
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
    /// Whether what the terminal shows may belong to a command. Then it is to be read before anything else is done: the
    /// read waits for what was written before (`flush_work` in `n_tty_read` of drivers/tty/n_tty.c).
    pub(super) fn is_active(&self) -> bool {
        !self.watched.is_empty()
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
        self.watched.values_mut().for_each(|stretch| stretch.shown(output));
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, pid: u32) {
        self.ended.extend(self.watched.remove(&pid));
    }

    /// A process stands before its first instruction: what is shown from now on is not of those that have ended, which
    /// `has_ended` tells before anybody has heard of it.
    pub(super) fn executed(&mut self, has_ended: impl Fn(u32) -> bool) {
        let ended: Vec<u32> = self.watched.keys().copied().filter(|pid| has_ended(*pid)).collect();
        ended.into_iter().for_each(|pid| self.ended(pid));
    }

    /// Those that have ended since the last call, in this order.
    pub(super) fn complete(&mut self) -> Vec<Stretch> {
        std::mem::take(&mut self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(screen: &mut Screen) -> Vec<(u64, Vec<u8>)> {
        screen.complete().into_iter().map(|s| (s.exec, s.text().0)).collect()
    }

    #[test]
    fn each_command_has_what_was_shown_while_it_ran() {
        let mut screen = Screen::default();
        screen.shown(b"before ");
        assert!(!screen.is_active());
        screen.begin(7, 1, vec!["npm".into()]);
        screen.shown(b"outer ");
        screen.begin(8, 2, vec!["jest".into()]);
        screen.shown(b"both ");
        screen.ended(8);
        screen.shown(b"after ");
        screen.begin(7, 3, vec!["node".into()]);
        screen.ended(7);
        screen.ended(9);
        assert_eq!(texts(&mut screen), [(2, b"both ".to_vec()), (3, b"outer both after ".to_vec())]);
        assert!(!screen.is_active() && texts(&mut screen).is_empty());
    }

    #[test]
    fn an_end_that_nobody_has_heard_of_is_one() {
        let mut screen = Screen::default();
        screen.begin(7, 1, Vec::new());
        screen.begin(8, 2, Vec::new());
        screen.shown(b"both");
        screen.executed(|pid| pid == 8);
        screen.shown(b" of another");
        screen.ended(8);
        assert_eq!(texts(&mut screen), [(2, b"both".to_vec())]);
        assert!(screen.is_active());
    }

    #[test]
    fn of_much_the_ends_are_kept() {
        let mut screen = Screen::default();
        screen.begin(1, 1, Vec::new());
        screen.shown(&[b'a'; KEPT]);
        screen.shown(&[b'b'; KEPT]);
        screen.shown(b"c");
        screen.ended(1);
        let (head, tail) = screen.complete().remove(0).text();
        assert!(head == [b'a'; KEPT] && tail.len() == KEPT && tail.ends_with(b"bc"));
    }
}
