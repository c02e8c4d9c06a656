//! At an exec notice: which of the caller's streams get a tee, and putting it in their place.

use cofferdam_core::event::Stream;
use cofferdam_sys::seccomp::{self, Notification};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::file::Held;
use super::look::{self, Kind, Look};
use super::tee::{Medium, Owner, Tee};
use super::{Gap, OutputError, Outputs};

/// Streams left as they are that are remembered, so that each counts once.
const MOST_LEFT: usize = 4096;

/// A caller that is held in its notice.
struct Target<'a> {
    listener: BorrowedFd<'a>,
    notice: u64,
    thread: u32,
    pidfd: OwnedFd,
    owner: Owner,
}

/// A stream of a caller: its descriptors, and what they are.
struct Wanted {
    numbers: &'static [u32],
    stream: Stream,
    look: Look,
}

/// What keeps a stream as it is.
enum Left {
    /// Nothing is amiss: it is not ours to tee, or its command is gone.
    Alone,
    /// Its output goes unrecorded.
    Unrecorded(Gap),
    /// The recorder fails.
    Failed(OutputError),
}

impl From<OutputError> for Left {
    fn from(e: OutputError) -> Left {
        Left::Failed(e)
    }
}

/// A stream that could not be looked at or opened, by the fault of whoever made it so.
fn unrecorded(e: Errno) -> Left {
    match e {
        Errno::MFILE | Errno::NFILE => Left::Unrecorded(Gap::TooMany),
        _ => Left::Unrecorded(Gap::Refused),
    }
}

impl Outputs {
    pub(super) fn attach(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> Result<(), OutputError> {
        let foreign = |number| Look::at(call.pid, number).filter(|look| !self.ours.contains_key(&look.inode));
        let wanted = match (foreign(1), foreign(2)) {
            (Some(out), Some(err)) if out == err => {
                vec![Wanted { numbers: &[1, 2], stream: Stream::Both, look: out }]
            }
            (out, err) => {
                let out = out.map(|look| Wanted { numbers: &[1], stream: Stream::Stdout, look });
                let err = err.map(|look| Wanted { numbers: &[2], stream: Stream::Stderr, look });
                out.into_iter().chain(err).collect()
            }
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let parent = look::parent(call.pid).filter(|parent| *parent != 0);
        let inherited: Vec<Look> =
            parent.iter().flat_map(|parent| [1, 2].map(|n| Look::at(*parent, n))).flatten().collect();
        let wanted: Vec<Wanted> = wanted.into_iter().filter(|w| !inherited.contains(&w.look)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let Some((pid, pidfd)) = process(call.pid) else { return Ok(()) };
        // What was read until here was read of the caller, if it still waits.
        if !seccomp::is_valid(listener, call.id) {
            return Ok(());
        }
        if self.left.len() >= MOST_LEFT {
            self.left.clear();
        }
        let owner = Owner { pid, exec: None, parent: parent.and_then(|p| self.execs.get(&p).copied()) };
        let target = Target { listener, notice: call.id, thread: call.pid, pidfd, owner };
        for stream in wanted {
            let done = match stream.look.kind {
                Kind::Pipe => self.tee_pipe(&target, &stream),
                Kind::Socket => self.tee_socket(&target, &stream),
                Kind::File => self.hold_file(&target, &stream),
            };
            match done {
                Ok(()) | Err(Left::Alone) => {}
                // Each candidate of a PATH search is a notice of its own.
                Err(Left::Unrecorded(gap)) => {
                    if self.left.insert((pid, stream.look.inode)) {
                        self.gap(gap);
                    }
                }
                Err(Left::Failed(e)) => return Err(e),
            }
        }
        Ok(())
    }

    fn tee_pipe(&mut self, target: &Target<'_>, wanted: &Wanted) -> Result<(), Left> {
        let flags = target.flags(wanted)?;
        // Packets (O_DIRECT of pipe(2)) would lose their boundaries; an end that is open for reading too is more than
        // an output; a FIFO with a name may have no reader now and one later.
        if wanted.look.has_name(self.a_pipe)
            || flags & OFlags::RWMODE != OFlags::WRONLY
            || flags.contains(OFlags::DIRECT)
        {
            return Err(Left::Unrecorded(Gap::Refused));
        }
        let kept = flags & (OFlags::NONBLOCK | OFlags::APPEND);
        if let Some(id) = self.by_original.get(&wanted.look.inode).copied()
            && let Some(tee) = self.tees.get_mut(&id)
        {
            // Another command has the same pipe: one tee for both keeps their order. Our end is open, so that opening
            // the other does not wait; O_NONBLOCK says so to the kernel and is taken back.
            let how = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let writer = open(look::path_of(&tee.input), how, Mode::empty()).map_err(unrecorded)?;
            fcntl_setfl(&writer, kept).map_err(unrecorded)?;
            if tee.stream != wanted.stream {
                tee.stream = Stream::Both;
            }
            target.place(&writer, wanted)?;
            return Ok(());
        }
        self.room_for_one_more()?;
        let original = target.take(wanted)?;
        // A description of our own: O_NONBLOCK on the shared one would reach everybody who writes to the pipe.
        let how = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let out = match open(look::path_of(&original), how, Mode::empty()) {
            Ok(out) => out,
            // Nobody reads: the command meets that by itself.
            Err(Errno::NXIO) => return Err(Left::Alone),
            Err(e) => return Err(unrecorded(e)),
        };
        drop(original);
        let (input, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(unrecorded)?;
        fcntl_setfl(&input, OFlags::NONBLOCK).map_err(unrecorded)?;
        if !kept.is_empty() {
            fcntl_setfl(&writer, kept).map_err(unrecorded)?;
        }
        let capacity = fcntl_getpipe_size(&out).map_err(unrecorded)?;
        if fcntl_getpipe_size(&input) != Ok(capacity) {
            // Where the user's share of pipe memory is used up, the command gets what is left of it.
            let _ = fcntl_setpipe_size(&input, capacity);
        }
        self.put(target, wanted, Medium::Pipe, (input, out, writer))
    }

    fn tee_socket(&mut self, target: &Target<'_>, wanted: &Wanted) -> Result<(), Left> {
        // Standard input as well: a conversation, and what comes in is not ours to take.
        if Look::at(target.thread, 0).is_some_and(|input| input == wanted.look) {
            return Err(Left::Unrecorded(Gap::Conversation));
        }
        let flags = target.flags(wanted)?;
        let out = target.take(wanted)?;
        if !is_pair(&out).map_err(unrecorded)? {
            return Err(Left::Unrecorded(Gap::Conversation));
        }
        self.room_for_one_more()?;
        let (input, writer) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(unrecorded)?;
        if flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&writer, OFlags::NONBLOCK).map_err(unrecorded)?;
        }
        let size = sockopt::socket_send_buffer_size(&out).map_err(unrecorded)?;
        if sockopt::socket_send_buffer_size(&writer) != Ok(size) {
            // The kernel doubles what it is given (socket(7)); over `wmem_max` it gives what it may.
            let _ = sockopt::set_socket_send_buffer_size(&writer, size / 2);
        }
        self.put(target, wanted, Medium::Socket, (input, out, writer))
    }

    /// Starts a tee and gives the command its end of it.
    fn put(
        &mut self,
        target: &Target<'_>,
        wanted: &Wanted,
        medium: Medium,
        (input, out, writer): (OwnedFd, OwnedFd, OwnedFd),
    ) -> Result<(), Left> {
        // The command's end: of a socket pair each has an inode of its own.
        let Some(own) = Look::here(&writer) else { return Err(Left::Unrecorded(Gap::Refused)) };
        target.place(&writer, wanted)?;
        let id = self.next;
        self.next += 1;
        let (input, out) = ((input, own.inode), (out, wanted.look.inode));
        let tee = Tee::start(id, medium, input, out, wanted.stream, target.owner, &self.shared)?;
        self.ours.insert(own.inode, id);
        if medium == Medium::Pipe {
            self.by_original.insert(wanted.look.inode, id);
        }
        self.tees.insert(id, tee);
        Ok(())
    }

    fn hold_file(&mut self, target: &Target<'_>, wanted: &Wanted) -> Result<(), Left> {
        let known = |held: &Held| held.owner.pid == target.owner.pid && held.inode == wanted.look.inode;
        if self.files.iter().any(known) {
            return Err(Left::Alone);
        }
        let flags = target.flags(wanted)?;
        if flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(Left::Alone);
        }
        self.room_for_one_more()?;
        let descriptor = target.take(wanted)?;
        if let Some(held) = Held::open(&descriptor, flags, wanted.stream, target.owner).map_err(unrecorded)? {
            self.files.push(held);
        }
        Ok(())
    }

    fn room_for_one_more(&self) -> Result<(), Left> {
        if self.tees.len() + self.files.len() < self.most { Ok(()) } else { Err(Left::Unrecorded(Gap::TooMany)) }
    }
}

impl Target<'_> {
    /// The flags of a stream that the new program will have.
    fn flags(&self, wanted: &Wanted) -> Result<OFlags, Left> {
        let flags = look::flags(self.thread, wanted.numbers[0]).ok_or(Left::Unrecorded(Gap::Refused))?;
        // Closed by the exec: the new program does not have it.
        if flags.contains(OFlags::CLOEXEC) { Err(Left::Alone) } else { Ok(flags) }
    }

    /// A copy of the descriptor: the description is shared with everybody who has it, and is given no flags.
    fn take(&self, wanted: &Wanted) -> Result<OwnedFd, Left> {
        let number = wanted.numbers[0].cast_signed();
        let fd = pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty()).map_err(unrecorded)?;
        // Another thread of the caller may have put something else there, or have a table of its own.
        if Look::here(&fd) == Some(wanted.look) { Ok(fd) } else { Err(Left::Unrecorded(Gap::Refused)) }
    }

    fn place(&self, writer: &OwnedFd, wanted: &Wanted) -> Result<(), Left> {
        for number in wanted.numbers {
            match seccomp::add_fd(self.listener, self.notice, writer.as_fd(), *number) {
                Ok(true) => {}
                Ok(false) => return Err(Left::Alone),
                // A limit of the caller's (RLIMIT_NOFILE below 3): its streams stay as they are.
                Err(e) => return Err(unrecorded(Errno::from_io_error(&e).unwrap_or(Errno::INVAL))),
            }
        }
        Ok(())
    }
}

/// The process of a thread, and a descriptor of it. `None` where it is gone.
fn process(thread: u32) -> Option<(u32, OwnedFd)> {
    let open = |pid: u32| pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok();
    // Only the first thread of a process has a pidfd without PIDFD_THREAD.
    if let Some(pidfd) = open(thread) {
        return Some((thread, pidfd));
    }
    let pid = look::process_of(thread)?;
    Some((pid, open(pid)?))
}

/// Whether a socket is one of a pair made for a stream: local, connected, without a name on either side, and nothing has
/// come in by it.
fn is_pair(fd: &OwnedFd) -> Result<bool, Errno> {
    // An address without a name is its family alone (unix(7)). It is not decoded: names are hostile.
    let unnamed = |name: rustix::net::SocketAddrAny| name.addr_len() as usize == size_of::<u16>();
    if sockopt::socket_domain(fd)? != AddressFamily::UNIX || sockopt::socket_type(fd)? != SocketType::STREAM {
        return Ok(false);
    }
    let peer = match rustix::net::getpeername(fd) {
        Ok(peer) => peer,
        Err(Errno::NOTCONN) => return Ok(false),
        Err(e) => return Err(e),
    };
    Ok(peer.is_none_or(unnamed) && unnamed(rustix::net::getsockname(fd)?) && rustix::io::ioctl_fionread(fd)? == 0)
}
