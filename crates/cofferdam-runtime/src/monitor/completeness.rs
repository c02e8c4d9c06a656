//! What the kernel's process connector says happened below init, beside what was recorded: each exec is matched with one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use cofferdam_core::event::{Counted, Statement};
use cofferdam_sys::connector::{Connector, News};

/// Unread news: some thousand pieces.
const BUFFER: usize = 4 << 20;
/// Most ended processes whose birth and end are remembered.
const REMEMBERED: usize = 8192;

/// The second count. Its pids are the host's.
#[derive(Debug)]
pub(super) struct Census {
    connector: Option<Connector>,
    /// Init and everything below it that lives.
    living: HashSet<u32>,
    parents: Remembered<u32>,
    statuses: Remembered<i32>,
    /// Execs that the connector told of and that are not recorded yet; below 0 the other way round.
    open: HashMap<u32, i64>,
    execs: u64,
    lost: bool,
}

/// The last entries of a map.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    map: HashMap<u32, T>,
    order: VecDeque<u32>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    pub(super) fn insert(&mut self, key: u32, value: T) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    pub(super) fn get(&self, key: u32) -> Option<&T> {
        self.map.get(&key)
    }
}

impl Census {
    /// Begins to count, before init has children.
    ///
    /// # Errors
    /// Where the connector's socket cannot be made for another reason than that this host has none for us.
    pub(super) fn begin(init: u32) -> io::Result<Census> {
        Ok(Census {
            connector: Connector::open(BUFFER)?,
            living: HashSet::from([init]),
            parents: Remembered::default(),
            statuses: Remembered::default(),
            open: HashMap::new(),
            execs: 0,
            lost: false,
        })
    }

    /// Reads what came; how much there was of the whole machine.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn read(&mut self) -> io::Result<usize> {
        let Some(connector) = self.connector.take() else { return Ok(0) };
        let mut pieces = 0;
        let read = connector.drain(|news| {
            pieces += 1;
            self.hear(news);
        });
        self.connector = Some(connector);
        read.map(|()| pieces)
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Fork { parent, child } if self.is_inside(parent) => {
                self.living.insert(child);
                self.parents.insert(child, parent);
                self.statuses.map.remove(&child);
            }
            // A stranger got the number of one that was ours.
            News::Fork { child, .. } => {
                self.living.remove(&child);
                self.parents.map.remove(&child);
                self.statuses.map.remove(&child);
            }
            News::Exec(pid) if self.is_inside(pid) => {
                self.execs += 1;
                self.settle(pid, 1);
            }
            News::Exit(pid, status) if self.living.remove(&pid) => self.statuses.insert(pid, status),
            News::Lost => self.lost = true,
            News::Exec(_) | News::Exit(..) => {}
        }
    }

    /// Whether a process is, or was until its number is given to another, init or below it. One whose first thread has
    /// ended counts as ended to the connector, and can still execute.
    fn is_inside(&self, pid: u32) -> bool {
        self.living.contains(&pid) || self.statuses.map.contains_key(&pid)
    }

    /// An exec was recorded.
    pub(super) fn recorded(&mut self, pid: u32) {
        if self.connector.is_some() {
            self.settle(pid, -1);
        }
    }

    fn settle(&mut self, pid: u32, by: i64) {
        let open = self.open.entry(pid).or_insert(0);
        *open += by;
        if *open == 0 {
            self.open.remove(&pid);
        }
    }

    /// Whether a process executed something that is not recorded; `None` where that cannot be told.
    pub(super) fn has_executed(&mut self, pid: u32) -> io::Result<Option<bool>> {
        self.read()?;
        let tells = self.connector.is_some() && !self.lost;
        Ok(tells.then(|| self.open.get(&pid).is_some_and(|open| *open > 0)))
    }

    /// The process that a process was born of, where that is remembered.
    pub(super) fn parent(&self, pid: u32) -> Option<u32> {
        self.parents.get(pid).copied()
    }

    /// How a process ended, where that is remembered.
    pub(super) fn status(&self, pid: u32) -> Option<i32> {
        self.statuses.get(pid).copied()
    }

    /// The statement on `recorded` execs, of which the log itself says that `unknown` more may have happened.
    pub(super) fn state(&self, recorded: u64, unknown: u64, statement: &mut Statement) {
        statement.execs = Counted { recorded, counted: None, unexplained: 0 };
        if self.connector.is_none() {
            statement.notes.push(
                "execs were counted once: this host's process connector tells us nothing (it does from Linux 6.6 on, in the \
                 first pid and network namespace)"
                    .to_owned(),
            );
        } else if self.lost {
            statement.notes.push(
                "execs were counted once: the process connector lost news, because the machine started processes faster than \
                 they were read"
                    .to_owned(),
            );
        } else {
            let open: u64 = self.open.values().map(|open| open.unsigned_abs()).sum();
            statement.execs.counted = Some(self.execs);
            statement.execs.unexplained = open.saturating_sub(unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census() -> Census {
        let mut census = Census::begin(10).unwrap();
        census.connector = None;
        census
    }

    #[test]
    fn only_what_lives_below_init_counts() {
        let mut census = census();
        for news in [
            News::Fork { parent: 10, child: 11 },
            News::Exec(11),
            News::Fork { parent: 1, child: 99 },
            News::Exec(99),
            News::Fork { parent: 11, child: 12 },
            News::Exit(11, 0x300),
            News::Exec(12),
            News::Exec(11), // by another thread than the first
            News::Fork { parent: 1, child: 11 },
            News::Exec(11), // a stranger that got the number
        ] {
            census.hear(news);
        }
        assert_eq!(census.execs, 3);
        assert_eq!((census.parent(12), census.status(11)), (Some(11), None));
        assert_eq!(census.open, HashMap::from([(11, 2), (12, 1)]));
        census.settle(12, -1);
        assert_eq!(census.open, HashMap::from([(11, 2)]));
    }

    #[test]
    fn memory_of_the_dead_is_bounded() {
        let mut remembered = Remembered::default();
        for n in 0..20_000 {
            remembered.insert(n, ());
        }
        assert_eq!((remembered.map.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
        assert!(remembered.map.contains_key(&19_999));
    }

    #[test]
    fn without_a_second_count_the_statement_says_so() {
        let mut statement = Statement::default();
        census().state(7, 0, &mut statement);
        assert_eq!(statement.execs, Counted { recorded: 7, counted: None, unexplained: 0 });
        assert_eq!(statement.notes.len(), 1);
    }
}
