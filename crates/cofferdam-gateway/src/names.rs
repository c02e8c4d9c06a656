//! Names and the synthetic addresses that stand for them inside.
//!
//! An address means a name only within this run, and leads nowhere but here. Both families have the same index. Indices
//! are given in turn over the whole range, twice as large as the table, so that an address whose name was forgotten
//! comes to mean another name as late as possible; and never while a program may still keep the answer that it was.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// How long programs may keep an answer.
pub(crate) const KEPT: Duration = Duration::from_secs(60);
/// Most names that are known at once.
const NAMES: usize = 65_536;
/// 198.18.0.0/15, the range for benchmarks (RFC 2544): no network routes it.
const V4: u32 = 0xc612_0000;
/// The last index: the range's addresses less its first.
const LAST: u32 = 0x1_ffff;
/// A prefix of our own out of fd00::/8 (RFC 4193).
const V6: u128 = 0xfd00_c0ff_ee00_0000_0000_0000_0000_0000;

/// The addresses of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Synthetic {
    /// For type A.
    pub v4: Ipv4Addr,
    /// For type AAAA.
    pub v6: Ipv6Addr,
}

impl Synthetic {
    fn of(index: u32) -> Synthetic {
        Synthetic { v4: Ipv4Addr::from_bits(V4 + index), v6: Ipv6Addr::from_bits(V6 + u128::from(index)) }
    }
}

/// The table. Bounded: the name that was not used for longest, and that no connection is open to, is forgotten first.
#[derive(Debug)]
pub(crate) struct Names {
    most: usize,
    by_name: HashMap<Box<str>, u32>,
    by_index: HashMap<u32, Entry>,
    /// Names without an open connection by their last use.
    idle: BTreeMap<u64, u32>,
    /// Counts uses.
    clock: u64,
    last: u32,
    /// Indices that were never given, from the one after `last` on.
    fresh: u32,
    /// Those whose names were forgotten, the earliest first, and until when a program may still keep them.
    resting: VecDeque<(Instant, u32)>,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    used: u64,
    /// When an answer held it last.
    answered: Instant,
    open: u32,
    /// Whether it was looked up.
    asked: bool,
}

/// Keeps a name's addresses while a connection to it is open.
pub(crate) struct Held<'n> {
    names: &'n RefCell<Names>,
    index: u32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.names.borrow_mut().release(self.index);
    }
}

impl Names {
    /// With `first` at the first addresses for good, as [`first_addresses`] says. Where so many names have been given
    /// addresses `before`, by tables that are gone, programs may keep those still.
    pub(crate) fn new(first: &[String], before: u64) -> Names {
        let mut names = Names::bounded(NAMES);
        for name in first.iter().take(NAMES / 2) {
            if let Some((Synthetic { v4, .. }, true)) = names.look_up(name)
                && let Some(entry) = index(v4.into()).and_then(|index| names.by_index.get_mut(&index))
            {
                (entry.asked, entry.open) = (false, 1);
                names.idle.remove(&entry.used);
            }
        }
        let given = u32::try_from(before).unwrap_or(LAST).min(names.fresh);
        let until = Instant::now() + KEPT;
        names.resting = (1..=given).map(|n| (until, names.last + n)).collect();
        names.last += given;
        names.fresh -= given;
        names
    }

    fn bounded(most: usize) -> Names {
        Names {
            most,
            by_name: HashMap::new(),
            by_index: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
            last: 0,
            fresh: LAST,
            resting: VecDeque::new(),
        }
    }

    /// The addresses of a name, which is in the form that policy compares; whether it is asked for the first time. `None`
    /// where all that are known have open connections, or all addresses have been given out just now.
    pub(crate) fn look_up(&mut self, name: &str) -> Option<(Synthetic, bool)> {
        let now = Instant::now();
        if let Some(&index) = self.by_name.get(name) {
            self.touch(index);
            let asked = self.by_index.get_mut(&index).is_none_or(|entry| {
                entry.answered = now;
                std::mem::replace(&mut entry.asked, true)
            });
            return Some((Synthetic::of(index), !asked));
        }
        let rested = self.resting.front().is_some_and(|(until, _)| *until <= now);
        if self.fresh == 0 && !rested || self.by_name.len() >= self.most && self.idle.is_empty() {
            return None;
        }
        if self.by_name.len() >= self.most {
            self.forget_one();
        }
        let index = if self.fresh > 0 {
            self.fresh -= 1;
            self.last = self.last % LAST + 1;
            self.last
        } else {
            self.resting.pop_front()?.1
        };
        self.clock += 1;
        self.by_name.insert(name.into(), index);
        let entry = Entry { name: name.into(), used: self.clock, answered: now, open: 0, asked: true };
        self.by_index.insert(index, entry);
        self.idle.insert(self.clock, index);
        Some((Synthetic::of(index), true))
    }

    /// Forgets the name that was not used for longest; its address rests.
    fn forget_one(&mut self) {
        let Some((_, index)) = self.idle.pop_first() else { return };
        let Some(entry) = self.by_index.remove(&index) else { return };
        self.by_name.remove(&entry.name);
        self.resting.push_back((entry.answered + KEPT, index));
    }

    /// What an address stands for, while it does; and that until the second value is dropped.
    pub(crate) fn hold(names: &RefCell<Names>, address: IpAddr) -> Option<(String, Held<'_>)> {
        let index = index(address)?;
        let mut table = names.borrow_mut();
        table.touch(index);
        let table = &mut *table;
        let entry = table.by_index.get_mut(&index)?;
        entry.open += 1;
        table.idle.remove(&entry.used);
        Some((entry.name.to_string(), Held { names, index }))
    }

    fn touch(&mut self, index: u32) {
        let Some(entry) = self.by_index.get_mut(&index) else { return };
        self.clock += 1;
        if self.idle.remove(&entry.used).is_some() {
            self.idle.insert(self.clock, index);
        }
        entry.used = self.clock;
    }

    fn release(&mut self, index: u32) {
        let Some(entry) = self.by_index.get_mut(&index) else { return };
        entry.open -= 1;
        if entry.open == 0 {
            self.idle.insert(entry.used, index);
        }
    }
}

/// The addresses, of IPv4 and IPv6, of the name at a place, from 0, among those that a gateway is given at its birth.
pub fn first_addresses(place: u16) -> [IpAddr; 2] {
    let Synthetic { v4, v6 } = Synthetic::of(u32::from(place) + 1);
    [v4.into(), v6.into()]
}

/// The index of a synthetic address; `None` for any other.
fn index(address: IpAddr) -> Option<u32> {
    let index = match address {
        IpAddr::V4(v4) => v4.to_bits().checked_sub(V4)?,
        IpAddr::V6(v6) => u32::try_from(v6.to_bits().checked_sub(V6)?).ok()?,
    };
    (1..=LAST).contains(&index).then_some(index)
}

/// Whether an address is of the ranges that stand for names.
pub fn is_synthetic(address: IpAddr) -> bool {
    index(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(names: &RefCell<Names>, address: IpAddr) -> Option<String> {
        Names::hold(names, address).map(|(name, _)| name)
    }

    #[test]
    fn both_addresses_stand_for_the_name_and_stay() {
        let names = RefCell::new(Names::new(&[], 0));
        let (one, new) = names.borrow_mut().look_up("a.example").unwrap();
        assert!(new);
        let (two, _) = names.borrow_mut().look_up("b.example").unwrap();
        assert_eq!(names.borrow_mut().look_up("a.example"), Some((one, false)));
        assert_eq!((one.v4.to_string(), one.v6.to_string()), ("198.18.0.1".into(), "fd00:c0ff:ee00::1".into()));
        assert_eq!(name_of(&names, one.v4.into()).as_deref(), Some("a.example"));
        assert_eq!(name_of(&names, one.v6.into()).as_deref(), Some("a.example"));
        assert_eq!(name_of(&names, two.v6.into()).as_deref(), Some("b.example"));
        for other in
            ["198.18.0.0", "198.18.0.3", "198.17.255.255", "198.20.0.0", "fd00:c0ff:ee00::", "fd00:c0ff:ee00:1::1"]
        {
            assert_eq!(name_of(&names, other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn names_of_the_plan_have_their_addresses_before_they_are_asked_for_and_for_good() {
        let first: Vec<String> = ["host.cofferdam", "db.example"].map(str::to_owned).to_vec();
        let names = RefCell::new(Names::new(&first, 7));
        let of = |name: &str| names.borrow_mut().look_up(name).unwrap();
        assert_eq!(name_of(&names, first_addresses(1)[0]).as_deref(), Some("db.example"));
        assert_eq!(name_of(&names, first_addresses(0)[1]).as_deref(), Some("host.cofferdam"));
        assert!(of("db.example").1, "it was never asked for");
        assert_eq!(of("db.example"), (Synthetic::of(2), false));
        assert_eq!(of("other.example"), (Synthetic::of(2 + 7 + 1), true), "behind what an earlier table gave out");
        for n in 0..NAMES {
            names.borrow_mut().look_up(&format!("n{n}.example")).unwrap();
        }
        assert_eq!(name_of(&names, first_addresses(1)[0]).as_deref(), Some("db.example"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_table_gave_out_means_nothing_else_at_first() {
        let mut earlier = Names::new(&[], 0);
        let old: Vec<Synthetic> = ["a.example", "b.example"].map(|name| earlier.look_up(name).unwrap().0).to_vec();
        let names = RefCell::new(Names::new(&[], 2));
        assert!(!old.contains(&names.borrow_mut().look_up("c.example").unwrap().0));
        assert_eq!(name_of(&names, old[1].v4.into()), None);
        let mut wrapped = Names::new(&[], u64::from(LAST));
        assert_eq!(wrapped.look_up("d.example"), None, "programs may keep any of them");
        tokio::time::advance(KEPT).await;
        assert_eq!(wrapped.look_up("d.example").unwrap().0, old[0]);
    }

    #[test]
    fn the_least_recently_used_without_a_connection_goes() {
        let names = RefCell::new(Names::bounded(3));
        let look_up = |name: &str| names.borrow_mut().look_up(name);
        let a = look_up("a.example").unwrap().0;
        let b = look_up("b.example").unwrap().0;
        let c = look_up("c.example").unwrap().0;
        let held = Names::hold(&names, a.v4.into()).unwrap().1;
        look_up("b.example").unwrap();
        // c is older than b, a is held.
        let d = look_up("d.example").unwrap().0;
        assert_eq!(name_of(&names, c.v4.into()), None);
        assert_eq!(name_of(&names, b.v4.into()).as_deref(), Some("b.example"));
        let held_too = (Names::hold(&names, b.v4.into()).unwrap(), Names::hold(&names, d.v6.into()).unwrap());
        assert_eq!(look_up("e.example"), None, "all are in use");
        assert_eq!(look_up("a.example"), Some((a, false)));
        drop(held);
        assert!(look_up("e.example").unwrap().1);
        assert_eq!(name_of(&names, a.v4.into()), None);
        drop(held_too);
        assert_eq!(names.borrow().by_name.len(), 3);
        assert_eq!(names.borrow().by_index.len(), 3);
        assert_eq!(names.borrow().idle.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_used_again_as_late_as_possible_and_nothing_grows() {
        let mut names = Names::bounded(2);
        let first = names.look_up("first.example").unwrap().0;
        for n in 1..LAST {
            assert_ne!(names.look_up(&format!("n{n}.example")).unwrap().0, first);
        }
        // All were given within a minute: none means another name before it is over, and nobody is forgotten for it.
        let last = format!("n{}.example", LAST - 1);
        tokio::time::advance(KEPT / 2).await;
        assert!(names.look_up(&last).is_some_and(|(_, new)| !new));
        tokio::time::advance(KEPT / 2 - Duration::from_millis(1)).await;
        assert_eq!(names.look_up("again.example"), None);
        assert!(names.look_up(&last).is_some_and(|(_, new)| !new));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(names.look_up("again.example").unwrap().0, first);
        assert_eq!(names.by_index.len(), 2);
        assert_eq!(names.idle.len(), 2);
        assert_eq!(names.resting.len(), LAST as usize - 2);
    }
}
