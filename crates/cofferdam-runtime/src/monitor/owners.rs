//! Whose sockets they are that connect.

use std::collections::{HashMap, VecDeque};

/// Most connects that are remembered until their connection is heard of.
const REMEMBERED: usize = 4096;

/// Sockets by their cookies (`SO_COOKIE`, `socket(7)`), each with the `process.exec` of who connected it last.
#[derive(Debug, Default)]
pub(super) struct Owners {
    execs: HashMap<u64, u64>,
    /// Cookies in the order in which they came.
    order: VecDeque<u64>,
}

impl Owners {
    /// A process connects a socket.
    pub(super) fn connects(&mut self, cookie: u64, exec: u64) {
        if self.execs.insert(cookie, exec).is_some() {
            return;
        }
        self.order.push_back(cookie);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.execs.remove(&oldest);
        }
    }

    /// The `process.exec` of who connected a socket.
    pub(super) fn of(&self, cookie: u64) -> Option<u64> {
        self.execs.get(&cookie).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut owners = Owners::default();
        for cookie in 0..=REMEMBERED as u64 {
            owners.connects(cookie, cookie + 1);
        }
        owners.connects(5, 77);
        assert_eq!((owners.of(0), owners.of(1), owners.of(5)), (None, Some(2), Some(77)));
        assert_eq!(owners.order.len(), REMEMBERED);
    }
}
