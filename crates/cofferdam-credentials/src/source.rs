//! Fetching a value, on the host: from the person's environment, a file, or a command of theirs.
//!
//! A command runs in the person's home, never in a project: what stands in a working directory is configuration to many
//! tools, and an agent's changes may have been promoted there.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cofferdam_policy::CredentialSource;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use zeroize::Zeroizing;

use crate::inject::Value;

/// How long a command gets; somebody may have to unlock something.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes that a file or command may give.
const LARGEST: usize = 64 * 1024;
/// Most bytes of what a command says on standard error that are told.
const SAID: usize = 400;

/// What of the person's surroundings a source needs.
#[derive(Debug)]
pub struct Surroundings {
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The home.
    pub home: PathBuf,
}

/// Why there is no value. Its words may hold what a command said: they are for the person, not for the enclosure, which
/// hears [`FetchError::in_short`].
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The environment has no such variable.
    #[error("the variable {0} is not set outside")]
    NotSet(String),
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A directory, FIFO, socket or device.
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    /// The program cannot be started.
    #[error("`{program}` cannot be started: {error}")]
    Start {
        /// The program, as policy names it.
        program: String,
        /// The system's words.
        error: io::Error,
    },
    /// The command failed.
    #[error("`{program}` ended with {status}{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Ended {
        /// The program, as policy names it.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on standard error, in one line, cut.
        said: String,
    },
    /// The command took too long, and was killed.
    #[error("`{0}` took longer than {wait} seconds", wait = PATIENCE.as_secs())]
    Slow(String),
    /// Nobody waits for the value any more.
    #[error("it is not wanted any more")]
    Stopped,
    /// More than any credential has.
    #[error("it gave more than 64 KiB")]
    Large,
    /// Nothing.
    #[error("it gave nothing")]
    Empty,
    /// Not printable ASCII.
    #[error("its value has a character that no field of a request can carry")]
    Character,
    /// The system failed.
    #[error("its command cannot be followed: {0}")]
    System(#[from] io::Error),
}

impl From<Errno> for FetchError {
    fn from(errno: Errno) -> FetchError {
        FetchError::System(errno.into())
    }
}

impl FetchError {
    /// For a program inside: no paths, no programs, and nothing that they said.
    pub fn in_short(&self) -> String {
        match self {
            FetchError::NotSet(_) => "its variable is not set outside".to_owned(),
            FetchError::File { error, .. } => format!("its file cannot be read: {}", error.kind()),
            FetchError::NotRegular(_) => "its file is no regular file".to_owned(),
            FetchError::Start { error, .. } => format!("its command cannot be started: {}", error.kind()),
            FetchError::Ended { status, .. } => match (status.code(), status.signal()) {
                (Some(code), _) => format!("its command ended with exit status {code}"),
                (None, Some(signal)) => format!("its command was killed by signal {signal}"),
                (None, None) => "its command ended".to_owned(),
            },
            FetchError::Slow(_) => format!("its command took longer than {} seconds", PATIENCE.as_secs()),
            FetchError::System(_) => "its command cannot be followed".to_owned(),
            FetchError::Stopped | FetchError::Large | FetchError::Empty | FetchError::Character => self.to_string(),
        }
    }
}

/// Fetches the value. `stop` is a descriptor whose other end closes when nobody wants it any more, where there is one.
///
/// # Errors
/// [`FetchError`].
pub fn fetch(
    source: &CredentialSource,
    around: &Surroundings,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Value, FetchError> {
    let raw = match source {
        CredentialSource::Env(name) => {
            let own = around.env.iter().find(|(own, _)| own.as_encoded_bytes() == name.as_bytes());
            let (_, value) = own.ok_or_else(|| FetchError::NotSet(name.clone()))?;
            Zeroizing::new(value.as_encoded_bytes().to_vec())
        }
        CredentialSource::File(written) => from_file(&CredentialSource::path(written, &around.home))?,
        CredentialSource::Command(words) => from_command(words, around, stop, PATIENCE)?,
        // Those have a keeper.
        CredentialSource::SignIn(_) => return Err(FetchError::Empty),
    };
    let end = raw.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |last| last + 1);
    let value = Zeroizing::new(raw[..end].to_vec());
    if value.is_empty() {
        return Err(FetchError::Empty);
    }
    // RFC 9110, section 5.5, without what is obsolete there.
    if !value.iter().all(|b| matches!(b, b' '..=b'~')) {
        return Err(FetchError::Character);
    }
    Ok(value)
}

fn from_file(path: &Path) -> Result<Value, FetchError> {
    let failed = |errno: Errno| FetchError::File { path: path.to_owned(), error: errno.into() };
    // Never waits for the other end of a FIFO, and takes no terminal.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(failed)?;
    let facts = fstat(&file).map_err(failed)?;
    if !FileType::from_raw_mode(facts.st_mode).is_file() {
        return Err(FetchError::NotRegular(path.to_owned()));
    }
    let mut value = Zeroizing::new(Vec::new());
    let read = File::from(file).take(LARGEST as u64 + 1).read_to_end(&mut value);
    read.map_err(|error| FetchError::File { path: path.to_owned(), error })?;
    if value.len() > LARGEST { Err(FetchError::Large) } else { Ok(value) }
}

fn from_command(
    words: &[String],
    around: &Surroundings,
    stop: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> Result<Value, FetchError> {
    let (program, arguments) = words.split_first().ok_or(FetchError::Empty)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(around.env.iter().map(|(name, value)| (name, value)))
        // Where the person was is none of its business either.
        .env("PWD", &around.home)
        .env_remove("OLDPWD")
        .current_dir(&around.home)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| FetchError::Start { program: program.clone(), error })?;
    let mut running = Running { child, over: false };
    running.follow(program, stop, Instant::now() + patience)
}

/// A command that is killed, with all of its group, where it is not wanted any more.
struct Running {
    child: Child,
    over: bool,
}

impl Running {
    fn follow(&mut self, program: &str, stop: Option<BorrowedFd<'_>>, until: Instant) -> Result<Value, FetchError> {
        let pid = Pid::from_child(&self.child);
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        let (Some(mut out), Some(mut err)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(FetchError::System(io::ErrorKind::BrokenPipe.into()));
        };
        for pipe in [out.as_fd(), err.as_fd()] {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let (mut value, mut said) = (Zeroizing::new(Vec::new()), Vec::new());
        let (mut out_open, mut err_open) = (true, true);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FetchError::Slow(program.to_owned()));
            }
            let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let wanted = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
            let nobody = PollFd::new(&end, PollFlags::empty());
            let mut fds = [
                PollFd::new(&end, PollFlags::IN),
                if out_open { PollFd::new(&out, wanted(out_open)) } else { nobody.clone() },
                if err_open { PollFd::new(&err, wanted(err_open)) } else { nobody },
                stop.map_or_else(
                    || PollFd::new(&end, PollFlags::empty()),
                    |fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()),
                ),
            ];
            match poll(&mut fds, Some(&wait)) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let ended = fds[0].revents().contains(PollFlags::IN);
            let unwanted = stop.is_some() && !fds[3].revents().is_empty();
            if unwanted {
                return Err(FetchError::Stopped);
            }
            // What it left behind may hold the pipes open: what is in them when it ends is all.
            out_open = out_open && take(&mut out, &mut value)?;
            err_open = err_open && take(&mut err, &mut said)?;
            if value.len() > LARGEST {
                return Err(FetchError::Large);
            }
            said.truncate(LARGEST);
            if ended {
                let status = self.child.wait()?;
                self.over = true;
                return match status.success() {
                    true => Ok(value),
                    false => Err(FetchError::Ended { program: program.to_owned(), status, said: one_line(&said) }),
                };
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            // Where it is gone already there is nobody to kill; the zombie keeps the number from being another's.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Reads what is there; whether more can come.
fn take(from: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = Zeroizing::new([0; 4096]);
    while into.len() <= LARGEST {
        match from.read(&mut piece[..]) {
            Ok(0) => return Ok(false),
            Ok(read) => into.extend_from_slice(&piece[..read]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// What a command said, in one line, as much as is told.
fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said).replace(char::is_control, " ");
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > SAID {
        line.truncate(line.floor_char_boundary(SAID));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(home: &Path) -> Surroundings {
        let mut env: Vec<(OsString, OsString)> =
            vec![("TOKEN".into(), "fr0m-env\n".into()), ("PWD".into(), "/elsewhere".into())];
        env.push(("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()));
        Surroundings { env, home: home.canonicalize().unwrap() }
    }

    fn sh(script: &str) -> CredentialSource {
        CredentialSource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn values_come_from_each_kind_of_source() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "fr0m-file\r\n\n").unwrap();
        let around = around(home.path());
        let get =
            |source: &CredentialSource| String::from_utf8(fetch(source, &around, None).unwrap().to_vec()).unwrap();
        assert_eq!(get(&CredentialSource::Env("TOKEN".into())), "fr0m-env");
        assert_eq!(get(&CredentialSource::File("~/token".into())), "fr0m-file");
        assert_eq!(get(&CredentialSource::File(home.path().join("token").display().to_string())), "fr0m-file");
        assert_eq!(get(&sh("echo noise >&2; echo \"from $TOKEN\" | tr -d '\\n'; echo")), "from fr0m-env");
        let home = around.home.display();
        assert_eq!(get(&sh("printf '%s %s %s' \"$(pwd)\" \"$PWD\" \"$(cat)\"")), format!("{home} {home} "));
        assert_eq!(get(&sh("sleep 20 & echo at-once")), "at-once", "what it leaves behind is not waited for");
    }

    #[test]
    fn what_fails_is_told_outside_and_in_short_inside() {
        let home = tempfile::tempdir().unwrap();
        let around = around(home.path());
        let why = |source: &CredentialSource| {
            let error = fetch(source, &around, None).unwrap_err();
            (error.to_string(), error.in_short())
        };
        let (outside, inside) = why(&CredentialSource::Env("OTHER".into()));
        assert!(outside.contains("OTHER") && !inside.contains("OTHER"));
        let (outside, inside) = why(&CredentialSource::File("~/none".into()));
        assert!(outside.contains("/none") && inside == "its file cannot be read: entity not found", "{inside}");
        assert!(why(&CredentialSource::File("~/".into())).1.contains("no regular file"));
        rustix::fs::mknodat(rustix::fs::CWD, home.path().join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        assert!(why(&CredentialSource::File("~/fifo".into())).1.contains("no regular file"));
        let (outside, inside) = why(&sh("echo 'not signed in\u{1b}[2J' >&2; exit 4"));
        assert!(outside.contains("exit status: 4: not signed in [2J"), "{outside}");
        assert_eq!(inside, "its command ended with exit status 4");
        assert!(why(&CredentialSource::Command(vec!["no-such-program".into()])).0.contains("no-such-program"));
        assert!(why(&sh("exit 0")).0.contains("nothing"));
        assert!(why(&sh("echo")).0.contains("nothing"));
        assert!(why(&sh("printf 'two\\nlines'")).0.contains("character"));
        assert!(why(&sh("yes")).0.contains("64 KiB"));
        assert!(why(&sh("yes >&2 & sleep 0.2; kill $!; exit 1")).0.len() < 500);
    }

    #[test]
    fn a_command_ends_with_its_patience_and_with_whoever_wants_it() {
        let home = tempfile::tempdir().unwrap();
        let around = around(home.path());
        let words = |name: &str| {
            let script = format!("sleep 300 & echo $! >{name}; wait");
            ["sh", "-c", &script].map(str::to_owned).to_vec()
        };
        let slow = from_command(&words("slow"), &around, None, Duration::from_millis(300));
        assert!(matches!(slow, Err(FetchError::Slow(_))), "{slow:?}");
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(theirs);
        });
        let stopped = from_command(&words("stopped"), &around, Some(ours.as_fd()), PATIENCE);
        assert!(matches!(stopped, Err(FetchError::Stopped)), "{stopped:?}");
        closing.join().unwrap();
        for name in ["slow", "stopped"] {
            let pid = std::fs::read_to_string(home.path().join(name)).unwrap();
            let gone = || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                stat.map_or(true, |stat| stat.contains(") Z "))
            };
            let until = Instant::now() + Duration::from_secs(5);
            while !gone() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(gone(), "{name}: its child lives on");
        }
    }
}
