//! Which ports listen inside, so that they can be offered: looked at when the monitor is awake anyway, and rarely.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use cofferdam_enclosure::Listeners;

/// From one look to the next.
const BETWEEN: Duration = Duration::from_secs(1);
/// Most ports that are remembered.
const REMEMBERED: usize = 64;

/// What has been seen to listen.
#[derive(Debug)]
pub(super) struct Listening {
    /// Absent where the enclosure has no network of its own.
    listeners: Option<Listeners>,
    looked: Instant,
    last: Vec<u16>,
    /// Seen at two looks: a test that opens a port for a moment is no server.
    stayed: BTreeSet<u16>,
}

impl Listening {
    pub(super) fn new(listeners: Option<Listeners>) -> Listening {
        Listening { listeners, looked: Instant::now(), last: Vec::new(), stayed: BTreeSet::new() }
    }

    /// The ports that listen now; `None` where that cannot be known.
    pub(super) fn now(&self) -> Option<io::Result<Vec<u16>>> {
        self.listeners.as_ref().map(Listeners::ports)
    }

    /// Looks, where the last look is long enough ago.
    pub(super) fn look_if_due(&mut self) {
        if self.looked.elapsed() < BETWEEN {
            return;
        }
        self.looked = Instant::now();
        // Where the kernel has no tcp_diag nothing is offered.
        let Some(Ok(now)) = self.now() else { return };
        self.take(now);
    }

    fn take(&mut self, now: Vec<u16>) {
        for port in now.iter().filter(|port| self.last.contains(port)) {
            if self.stayed.len() < REMEMBERED {
                self.stayed.insert(*port);
            }
        }
        self.last = now;
    }

    /// Those that stayed.
    pub(super) fn stayed(&self) -> impl Iterator<Item = u16> {
        self.stayed.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_for_a_moment_is_not_offered() {
        let mut listening = Listening::new(None);
        listening.take(vec![80, 5173]);
        assert_eq!(listening.stayed().count(), 0);
        listening.take(vec![5173, 9999]);
        listening.take(vec![80]);
        assert_eq!(listening.stayed().collect::<Vec<_>>(), [5173]);
        assert!(listening.now().is_none());
    }
}
