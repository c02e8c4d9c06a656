//! What tried to leave as datagrams: it finds no route, so nobody mediates it, and the kernel counts it.
//!
//! Two sources. The network namespace's own counters say how many packets found no route: exactly, but not whose. The
//! notices of connect(2) say which program connects a datagram socket to where. Resolvers do that too, to sort the addresses
//! that a look-up gave (RFC 6724), and nothing tells such a connect from another one; so only addresses that no look-up
//! gives are evidence, and the others are taken off the count.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;

use cofferdam_core::event::NetDenied;
use cofferdam_enclosure::Connecting;
use cofferdam_gateway::is_synthetic;

/// Most different connects that have an event; what comes beyond stays in the count.
const MOST: usize = 1024;
/// Most bytes of a file of counters; those of the kernel have a few thousand.
const LONGEST: usize = 64 << 10;
/// Datagrams to this port find the enclosure's own resolver, wherever they are sent.
const DNS: u16 = 53;

/// What the connects of datagram sockets came to.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    /// Whose connect to where has its event.
    told: HashSet<(u64, SocketAddr)>,
    /// Connects that found no route and are no datagrams that a program wanted to send.
    explained: u64,
}

impl Datagrams {
    /// A datagram socket is connected by a program, named by its `process.exec`: what is to be recorded of it, once for
    /// each address.
    pub(super) fn connects(&mut self, exec: u64, connecting: &Connecting) -> Option<NetDenied> {
        let address = connecting.address;
        if !connecting.udp || address.port() == DNS {
            return None;
        }
        let news = !is_synthetic(address.ip()) && !self.told.contains(&(exec, address));
        if news && self.told.len() == MOST {
            return None;
        }
        self.explained += 1;
        news.then(|| {
            self.told.insert((exec, address));
            denied(address)
        })
    }

    /// Of so many packets without a route, the datagrams that programs sent or wanted to send.
    pub(super) fn of(&self, unrouted: u64) -> u64 {
        unrouted.saturating_sub(self.explained)
    }
}

fn denied(address: SocketAddr) -> NetDenied {
    NetDenied {
        host: address.ip().to_string(),
        port: address.port(),
        scheme: "udp".to_owned(),
        reason: "udp".to_owned(),
        detail: "datagrams do not leave".to_owned(),
        ..NetDenied::default()
    }
}

/// The counters of the enclosure's network (`/proc/PID/net/snmp`, `snmp6`; proc_pid_net(5)).
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Of IPv4, and of IPv6 where the kernel has it. Open files are those of their namespace, and outlive its processes.
    files: [Option<File>; 2],
}

impl Counters {
    /// Those of a process that lives in the network.
    pub(super) fn open(pid: u32) -> Counters {
        // Where they are not to be had the count is not known, and is not written.
        let open = |name| File::open(format!("/proc/{pid}/net/{name}")).ok();
        Counters { files: [open("snmp"), open("snmp6")] }
    }

    /// Packets that found no route so far; `None` where that is not known.
    pub(super) fn unrouted(&self) -> Option<u64> {
        let [v4, v6] = &self.files;
        let v4 = v4_unrouted(&read(v4.as_ref()?).ok()?)?;
        let v6 = match v6 {
            Some(file) => v6_unrouted(&read(file).ok()?)?,
            None => 0,
        };
        Some(v4 + v6)
    }
}

fn read(file: &File) -> io::Result<String> {
    let (mut all, mut at) = (vec![0; LONGEST], 0);
    loop {
        match file.read_at(&mut all[at..], at as u64)? {
            0 => break,
            read => at += read,
        }
    }
    all.truncate(at);
    String::from_utf8(all).map_err(io::Error::other)
}

/// `OutNoRoutes` of the two lines `Ip:`, the first with the names and the second with the values.
fn v4_unrouted(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip:"));
    let at = lines.next()?.split_ascii_whitespace().position(|name| name == "OutNoRoutes")?;
    lines.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// `Ip6OutNoRoutes`, a line of its own.
fn v6_unrouted(text: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| (words.next() == Some("Ip6OutNoRoutes")).then(|| words.next()?.parse().ok()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: &str, udp: bool) -> Connecting {
        Connecting { pid: 1, cookie: 1, address: address.parse().unwrap(), udp }
    }

    #[test]
    fn an_address_is_told_once_a_program_and_what_resolvers_do_is_not() {
        let mut datagrams = Datagrams::default();
        let denied = datagrams.connects(7, &to("9.9.9.9:443", true)).unwrap();
        assert_eq!((denied.host.as_str(), denied.port, denied.reason.as_str()), ("9.9.9.9", 443, "udp"));
        assert_eq!(datagrams.connects(7, &to("9.9.9.9:443", true)), None);
        assert!(datagrams.connects(8, &to("9.9.9.9:443", true)).is_some());
        assert!(datagrams.connects(7, &to("[2001:db8::1]:443", true)).is_some());
        for quiet in ["198.18.0.5:443", "[fd00:c0ff:ee00::5]:0", "8.8.8.8:53"] {
            assert_eq!(datagrams.connects(7, &to(quiet, true)), None, "{quiet}");
        }
        assert_eq!(datagrams.connects(7, &to("9.9.9.9:80", false)), None, "TCP has its gateway");
        assert_eq!((datagrams.explained, datagrams.of(10), datagrams.of(2)), (6, 4, 0));
    }

    #[test]
    fn what_comes_beyond_the_bound_stays_in_the_count() {
        let mut datagrams = Datagrams::default();
        for exec in 0..MOST as u64 + 5 {
            let told = datagrams.connects(exec, &to("9.9.9.9:443", true)).is_some();
            assert_eq!(told, exec < MOST as u64);
        }
        assert_eq!(datagrams.of(MOST as u64 + 5), 5);
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let v4 = "Ip: Forwarding OutDiscards OutNoRoutes ReasmFails\nIp: 2 0 17 0\nIcmp: InMsgs\nIcmp: 3\n";
        assert_eq!(v4_unrouted(v4), Some(17));
        assert_eq!(v4_unrouted("Ip: A B\nIp: 1 2\n"), None);
        assert_eq!(v6_unrouted("Ip6InReceives  \t4\nIp6OutNoRoutes  \t12\n"), Some(12));
        assert_eq!(v6_unrouted(""), None);
        assert!(Counters::open(std::process::id()).unrouted().is_some());
        assert_eq!(Counters::default().unrouted(), None);
    }
}
