//! Where connections are taken on a kernel that cannot redirect them all.
//!
//! All addresses are the enclosure's own there, so that one listener on all of them takes a port's connections, and what
//! no rule allows is refused with words as elsewhere. That would take the port from programs inside: it is done for ports
//! that they cannot have (`ip_unprivileged_port_start` of `ip(7)`). For the others there is a listener for each name and
//! address that a rule has with the port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cofferdam_core::plan::EnclosurePlan;
use cofferdam_gateway::first_addresses;
use cofferdam_policy::Rule;
use cofferdam_policy::host::HostPattern;

/// The first port that every program may listen at.
const UNPRIVILEGED: u16 = 1024;
/// HTTP's, with and without TLS, and that of the resolver, whose answers may be asked for by TCP.
const ALWAYS: [u16; 3] = [443, 80, 53];

/// What a plan says of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// Names whose addresses are in `listen`.
    pub(super) names: Vec<String>,
    /// The addresses.
    pub(super) listen: Vec<SocketAddr>,
}

/// For the rules that apply; at most [`EnclosurePlan::MOST_LISTENERS`] addresses.
pub(super) fn of(rules: &[Rule]) -> Taken {
    let mut taken = Taken::default();
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    for port in ALWAYS {
        taken.at(any, port);
    }
    for rule in rules {
        let Some(port) = rule.port else { continue };
        match &rule.host {
            _ if port < UNPRIVILEGED => taken.at(any, port),
            HostPattern::Name(name) => {
                if let Some(place) = taken.place(name) {
                    taken.at(first_addresses(place), port);
                }
            }
            HostPattern::Address(address) => taken.at([*address], port),
            // Which names there will be is not known.
            HostPattern::Suffix(_) => {}
        }
    }
    taken
}

impl Taken {
    fn at(&mut self, addresses: impl IntoIterator<Item = IpAddr>, port: u16) {
        for address in addresses {
            let address = SocketAddr::new(address, port);
            if self.listen.len() < EnclosurePlan::MOST_LISTENERS && !self.listen.contains(&address) {
                self.listen.push(address);
            }
        }
    }

    /// A name's place among the names.
    fn place(&mut self, name: &str) -> Option<u16> {
        let known = self.names.iter().position(|known| known == name);
        let place = u16::try_from(known.unwrap_or(self.names.len())).ok()?;
        if known.is_none() && self.listen.len() < EnclosurePlan::MOST_LISTENERS {
            self.names.push(name.to_owned());
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_policy::{LayerKind, Source, parse};

    use super::*;

    fn taken(hosts: &[&str]) -> Taken {
        let rule = |host: &&str| format!("[[network.allow]]\nhost = \"{host}\"\npurpose = \"x\"\n");
        let text = format!("version = 1\n{}", hosts.iter().map(rule).collect::<String>());
        of(&parse(&Source::new("/policy.toml", text), LayerKind::Person).rules)
    }

    #[test]
    fn low_ports_are_taken_whole_and_others_by_name() {
        let hosts = ["a.example", "host.cofferdam:5432", "b.example:22", "host.cofferdam:6379", "*.c.example:9000"];
        let taken = taken(&[&hosts[..], &["192.0.2.7:8000", "192.0.2.8:22"]].concat());
        assert_eq!(taken.names, ["host.cofferdam"]);
        let listen: Vec<String> = taken.listen.iter().map(SocketAddr::to_string).collect();
        let [v4, v6] = first_addresses(0);
        assert_eq!(
            listen,
            [
                "0.0.0.0:443".to_owned(),
                "[::]:443".to_owned(),
                "0.0.0.0:80".to_owned(),
                "[::]:80".to_owned(),
                "0.0.0.0:53".to_owned(),
                "[::]:53".to_owned(),
                format!("{v4}:5432"),
                format!("[{v6}]:5432"),
                "0.0.0.0:22".to_owned(),
                "[::]:22".to_owned(),
                format!("{v4}:6379"),
                format!("[{v6}]:6379"),
                "192.0.2.7:8000".to_owned(),
            ]
        );
    }

    #[test]
    fn there_are_never_more_than_can_be_handed_over() {
        let hosts: Vec<String> = (0..500).map(|n| format!("n{n}.example:9000")).collect();
        let taken = taken(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(taken.listen.len(), EnclosurePlan::MOST_LISTENERS);
        assert!(taken.names.len() <= EnclosurePlan::MOST_LISTENERS);
    }
}
