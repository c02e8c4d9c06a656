//! Names resolved outside, for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;
use std::{fs, io};

use cofferdam_exchange::Waiting;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long addresses are good: `getaddrinfo(3)` does not say for how long they are.
const POSITIVE: Duration = Duration::from_secs(30);
/// How long a failure is.
const NEGATIVE: Duration = Duration::from_secs(2);
/// Names that need no name server.
const HOSTS: &str = "/etc/hosts";
/// Most names.
const NAMES: usize = 1024;

/// Resolves a name.
pub(super) trait Lookup {
    /// Its addresses, in the order in which they are to be tried.
    fn lookup<'a>(&'a self, name: &'a str) -> Waiting<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: `/etc/hosts` and the host's name servers.
pub(super) struct System;

impl Lookup for System {
    fn lookup<'a>(&'a self, name: &'a str) -> Waiting<'a, io::Result<Vec<IpAddr>>> {
        let mut name = name.to_owned();
        let ask = move || {
            // Absolute, lest the host's search list make of it another name, which no rule is about. `/etc/hosts` is looked
            // at first, and knows names without the dot only.
            if !fs::read_to_string(HOSTS).is_ok_and(|text| is_in(&text, &name)) {
                name.push('.');
            }
            Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        };
        Box::pin(async { tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)? })
    }
}

/// Whether a file of hosts (`hosts(5)`) has a name.
fn is_in(text: &str, name: &str) -> bool {
    let entries = text.lines().filter_map(|line| line.split('#').next());
    entries.flat_map(|line| line.split_whitespace().skip(1)).any(|known| known.eq_ignore_ascii_case(name))
}

type Answer = Result<Vec<IpAddr>, String>;

/// A look-up: done or under way. Who asks meanwhile waits for the same.
#[derive(Default)]
struct Known(OnceCell<(Instant, Answer)>);

impl Known {
    fn is_over(&self, now: Instant) -> bool {
        self.0.get().is_some_and(|(until, _)| *until <= now)
    }
}

/// The cache, with what fills it.
pub(super) struct Cache {
    lookup: Box<dyn Lookup>,
    known: RefCell<HashMap<Box<str>, Rc<Known>>>,
}

impl Cache {
    pub(super) fn new(lookup: impl Lookup + 'static) -> Cache {
        Cache { lookup: Box::new(lookup), known: RefCell::default() }
    }

    /// The addresses of a name; where there are none, why.
    pub(super) async fn addresses(&self, name: &str) -> Answer {
        let known = self.entry(name, Instant::now());
        let ask = || async {
            let answer = match self.lookup.lookup(name).await {
                Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
                Ok(addresses) => Ok(addresses),
                Err(e) => Err(e.to_string()),
            };
            (Instant::now() + if answer.is_ok() { POSITIVE } else { NEGATIVE }, answer)
        };
        known.0.get_or_init(ask).await.1.clone()
    }

    fn entry(&self, name: &str, now: Instant) -> Rc<Known> {
        let mut known = self.known.borrow_mut();
        if let Some(found) = known.get(name).filter(|found| !found.is_over(now)) {
            return Rc::clone(found);
        }
        if known.len() >= NAMES {
            known.retain(|_, other| !other.is_over(now));
            // All are good still: any of them can be asked for again.
            if known.len() >= NAMES
                && let Some(any) = known.keys().next().cloned()
            {
                known.remove(&any);
            }
        }
        let new = Rc::<Known>::default();
        known.insert(name.into(), Rc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Counts, and knows only names that begin with `a`.
    struct Counting(Rc<Cell<u32>>);

    impl Lookup for Counting {
        fn lookup<'a>(&'a self, name: &'a str) -> Waiting<'a, io::Result<Vec<IpAddr>>> {
            self.0.set(self.0.get() + 1);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if name.starts_with('a') { Ok(vec![[203, 0, 113, 1].into()]) } else { Err(io::Error::other("unknown")) }
            })
        }
    }

    fn cache() -> (Cache, Rc<Cell<u32>>) {
        let count = Rc::new(Cell::new(0));
        (Cache::new(Counting(Rc::clone(&count))), count)
    }

    #[test]
    fn names_of_a_file_of_hosts() {
        let text = "# a.example\n127.0.0.1 localhost\n10.0.0.1\tB.example b # c.example\n";
        for (name, found) in
            [("a.example", false), ("b.example", true), ("b", true), ("c.example", false), ("10.0.0.1", false)]
        {
            assert_eq!(is_in(text, name), found, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_their_time() {
        let (cache, count) = cache();
        let after = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        assert_eq!(cache.addresses("a.example").await, Ok(vec![[203, 0, 113, 1].into()]));
        after(29).await;
        cache.addresses("a.example").await.unwrap();
        assert_eq!(count.get(), 1);
        after(2).await;
        cache.addresses("a.example").await.unwrap();
        assert_eq!(count.get(), 2);
        assert_eq!(cache.addresses("b.example").await, Err("unknown".to_owned()));
        after(1).await;
        assert!(cache.addresses("b.example").await.is_err());
        assert_eq!(count.get(), 3);
        after(2).await;
        assert!(cache.addresses("b.example").await.is_err());
        assert_eq!(count.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_meanwhile_waits_for_the_same_answer_and_nothing_grows() {
        let (cache, count) = cache();
        let (one, two) = tokio::join!(cache.addresses("a.example"), cache.addresses("a.example"));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(count.get(), 1);
        // One that gives up does not leave the next one waiting.
        let gives_up = tokio::time::timeout(Duration::from_millis(1), cache.addresses("a.other.example"));
        assert!(gives_up.await.is_err());
        assert!(cache.addresses("a.other.example").await.is_ok());
        for n in 0..NAMES + 50 {
            cache.entry(&format!("a{n}.example"), Instant::now());
        }
        assert!(cache.known.borrow().len() <= NAMES);
    }
}
