//! A small monitor: a thread whose children are notified at their execs, and one that answers and records their output.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;

use cofferdam_core::event::{Counted, EventKind};
use cofferdam_evidence::BlobStore;
use cofferdam_runtime::monitor::output::{Finished, Outputs};
use cofferdam_sys::seccomp::{self, Answer, Instruction};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What the monitor does at a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only lets it go on.
    #[allow(dead_code, reason = "the benchmark compares with it")]
    Notice,
    /// Records output.
    Record,
}

/// What was recorded.
#[derive(Default)]
pub struct Recorded {
    pub outputs: Vec<Finished>,
    pub gaps: Vec<(String, u64)>,
    pub counted: Counted,
    /// By `seq`: the process that executed.
    pub execs: HashMap<u64, u32>,
    pub evidence: std::path::PathBuf,
}

#[allow(dead_code, reason = "the benchmark needs a part of it")]
impl Recorded {
    /// The whole kept content of an output.
    pub fn content(&self, output: &Finished) -> Vec<u8> {
        let store = BlobStore::open(&self.evidence).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut store.get(&output.output.blob).unwrap(), &mut content).unwrap();
        content
    }

    /// The texts of all outputs, sorted.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> =
            self.outputs.iter().map(|o| String::from_utf8_lossy(&self.content(o)).into_owned()).collect();
        texts.sort();
        texts
    }

    /// The one output that says this.
    pub fn saying(&self, text: &str) -> &Finished {
        let mut found = self.outputs.iter().filter(|o| self.content(o) == text.as_bytes());
        let one = found.next().unwrap_or_else(|| panic!("nothing says {text:?}: {:?}", self.texts()));
        assert!(found.next().is_none(), "{text:?} is recorded twice");
        one
    }
}

#[cfg(target_arch = "x86_64")]
const EXECS: [u32; 2] = [59, 322];
#[cfg(target_arch = "aarch64")]
const EXECS: [u32; 2] = [221, 281];

/// Notifies `execve(2)` and `execveat(2)`, allows the rest.
fn filter() -> [Instruction; 5] {
    let op = |code, jt, jf, k| Instruction { code, jt, jf, k };
    [
        op(0x20, 0, 0, 0), // the call's number
        op(0x15, 2, 0, EXECS[0]),
        op(0x15, 1, 0, EXECS[1]),
        op(0x06, 0, 0, 0x7fff_0000), // SECCOMP_RET_ALLOW
        op(0x06, 0, 0, 0x7fc0_0000), // SECCOMP_RET_USER_NOTIF
    ]
}

/// Has `work` start commands on a thread of its own, and records what they print. `work` returns when they are gone.
pub fn record<T: Send>(mode: Mode, evidence: &Path, work: impl FnOnce() -> T + Send) -> (T, Recorded) {
    let (send, receive) = mpsc::channel();
    let (done, worker_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let _worker_end = worker_end;
            rustix::thread::set_no_new_privs(true).unwrap();
            send.send(seccomp::install(&filter(), true).unwrap().unwrap()).unwrap();
            work()
        });
        let recorded = monitor(mode, evidence, &receive.recv().unwrap(), &done);
        let result = worker.join();
        (result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), recorded)
    })
}

fn monitor(mode: Mode, evidence: &Path, listener: &OwnedFd, done: &OwnedFd) -> Recorded {
    seccomp::wake_up_in_step(listener.as_fd()).unwrap();
    let mut outputs = Outputs::new(evidence.to_owned(), cofferdam_evidence::Striker::default()).unwrap();
    let mut recorded = Recorded { evidence: evidence.to_owned(), ..Recorded::default() };
    let mut living: Vec<(u32, OwnedFd)> = Vec::new();
    let mut seq = 0;
    loop {
        let mut fds = vec![
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(outputs.as_fd(), PollFlags::IN),
            PollFd::new(done, PollFlags::IN),
        ];
        fds.extend(living.iter().map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.unwrap(),
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[1] {
            recorded.outputs.extend(outputs.turn().unwrap());
        }
        let mut gone = ready[3..].iter();
        let mut ended = Vec::new();
        living.retain(|(pid, _)| {
            let gone = *gone.next().unwrap();
            if gone {
                ended.push(*pid);
            }
            !gone
        });
        for pid in ended {
            recorded.outputs.extend(outputs.exited(pid).unwrap());
        }
        if ready[2] {
            break;
        }
        if ready[0]
            && let Some(call) = seccomp::receive(listener.as_fd()).unwrap()
        {
            if mode == Mode::Record {
                outputs.at_notice(listener.as_fd(), &call).unwrap();
                seq += 1;
                if !living.iter().any(|(pid, _)| *pid == call.pid)
                    && let Some(pid) = Pid::from_raw(call.pid.cast_signed())
                    && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
                {
                    living.push((call.pid, pidfd));
                }
            }
            if seccomp::answer(listener.as_fd(), call.id, Answer::Continue).unwrap() && mode == Mode::Record {
                outputs.executed(call.pid, seq);
                recorded.execs.insert(seq, call.pid);
            }
        }
    }
    recorded.outputs.extend(outputs.finish().unwrap());
    recorded.counted = outputs.counted();
    recorded.gaps = outputs
        .gaps()
        .into_iter()
        .map(|gap| match gap {
            EventKind::EvidenceGap { what, count } => (what, count),
            other => panic!("no gap: {other:?}"),
        })
        .collect();
    recorded
}
