//! A run with a shell inside that does what it is told, and the gateway that serves it.

use std::cell::{OnceCell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::peers::{HOST, Peers};
use crate::support;

/// `coffer` in the bench's project, with a policy and a store of the bench's own.
pub fn coffer(peers: &Peers, words: &[&str]) -> Command {
    let mut command = support::coffer(&peers.at("project"), &peers.at("state"), words);
    command.env("XDG_CONFIG_HOME", peers.at("config")).env("SSL_CERT_FILE", peers.at("ca.pem"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Allows the bench's servers.
pub fn allow(peers: &Peers) {
    let rule = |port: u16, scheme: &str| {
        format!("[[network.allow]]\nhost = \"{HOST}\"\nport = {port}\nscheme = \"{scheme}\"\npurpose = \"bench\"\n")
    };
    let policy = peers.at("config").join("cofferdam");
    std::fs::create_dir_all(&policy).unwrap();
    let rules = rule(peers.sink.port, "tcp") + &rule(peers.server.port, "https");
    std::fs::write(policy.join("policy.toml"), format!("version = 1\n{rules}")).unwrap();
}

/// The run.
pub struct Run {
    child: Child,
    words: RefCell<Option<ChildStdin>>,
    answers: RefCell<BufReader<ChildStdout>>,
    relay: OnceCell<u16>,
}

impl Run {
    pub fn start(peers: &Peers) -> Run {
        allow(peers);
        let mut command = coffer(peers, &["run", "--quiet", "--", "sh"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = RefCell::new(child.stdin.take());
        let answers = RefCell::new(BufReader::new(child.stdout.take().unwrap()));
        Run { child, words, answers, relay: OnceCell::new() }
    }

    /// The port of a relay to a server, both inside; they are started when they are first asked for.
    pub fn relay(&self) -> u16 {
        *self.relay.get_or_init(|| {
            let start = "./tcp sink >sink & until [ -s sink ]; do sleep 0.01; done; ./tcp relay $(cat sink) >relay & \
                         until [ -s relay ]; do sleep 0.01; done; cat relay";
            self.output(start).trim().parse().unwrap()
        })
    }

    /// What a command inside prints; it must end well.
    pub fn output(&self, script: &str) -> String {
        let mut words = self.words.borrow_mut();
        let words = words.as_mut().unwrap();
        writeln!(words, "( {script}\n) </dev/null; echo \"ended $?\"").unwrap();
        words.flush().unwrap();
        let mut said = String::new();
        loop {
            let begun = said.len();
            let read = self.answers.borrow_mut().read_line(&mut said).unwrap();
            assert!(read > 0, "the run ended: {said}");
            if let Some(code) = said[begun..].strip_prefix("ended ") {
                assert_eq!(code.trim(), "0", "{script}: {said}");
                said.truncate(begun);
                return said;
            }
        }
    }

    /// Its gateway, which is there after the first connection.
    pub fn gateway(&self) -> Gateway {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while at < all.len() {
            let path = format!("/proc/{0}/task/{0}/children", all[at]);
            let children = std::fs::read_to_string(path).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        let is = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "coffer-gateway\n")
        };
        Gateway(all.into_iter().find(is).expect("no gateway was born"))
    }

    /// Ends it, and waits until its last event is recorded.
    pub fn end(mut self) {
        drop(self.words.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the run: {status}");
    }
}

/// The gateway's process.
pub struct Gateway(u32);

impl Gateway {
    /// Peak resident memory, in KiB.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM")
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS")
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many descriptors it has; `None` where only root may look: it cannot be traced by its own user.
    pub fn descriptors(&self) -> Option<usize> {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).ok().map(Iterator::count)
    }
}
