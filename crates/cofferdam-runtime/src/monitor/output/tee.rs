//! One tee: the pipe or socket that stands in a command's stream, the original it hands on to, and what is kept.

use cofferdam_core::event::{Source, Stream};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::OutputError;
use super::kept::{Keeper, Kept};
use super::look::Inode;

/// What a tee is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Pipe,
    Socket,
}

impl Medium {
    fn source(self) -> Source {
        match self {
            Medium::Pipe => Source::Pipe,
            Medium::Socket => Source::Socket,
        }
    }
}

/// Whose output it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) pid: u32,
    /// Its `process.exec`, once it has executed.
    pub(super) exec: Option<u64>,
    /// Its parent's: the cause of what a child printed that never executed anything.
    pub(super) parent: Option<u64>,
}

impl Owner {
    pub(super) fn cause(&self) -> Option<u64> {
        self.exec.or(self.parent)
    }
}

/// What all tees share.
pub(super) struct Shared {
    pub(super) epoll: OwnedFd,
    pub(super) keeper: Keeper,
    pub(super) chunk: Box<[u8]>,
    /// Bytes that wait for readers, of all tees.
    pub(super) pending: usize,
    /// Tees whose pipes are enlarged.
    pub(super) large: usize,
}

/// How far a tee came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing is left for now.
    Drained,
    /// There is more; it has had its share of this turn.
    More,
    /// The reader does not read.
    Blocked,
    /// The writers or the reader are gone; nothing is left.
    Ended,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Input,
    /// Room at the reader.
    Room,
    /// Sockets: the writers' end, after they said that they write no more.
    HangUp,
}

pub(super) struct Tee {
    pub(super) id: u64,
    pub(super) medium: Medium,
    /// Our end of what the command writes to.
    pub(super) input: OwnedFd,
    /// What it would write to without us. Of a pipe: opened anew, with flags of its own.
    pub(super) out: OwnedFd,
    pub(super) own: Inode,
    pub(super) original: Inode,
    pub(super) stream: Stream,
    pub(super) owner: Owner,
    pub(super) kept: Kept,
    /// Read and not handed on yet.
    pub(super) pending: Vec<u8>,
    /// Bytes at the start of `input` that the tail has already.
    pub(super) ahead: usize,
    /// Bytes that the reader got.
    pub(super) handed: u64,
    /// Bytes that its reader, or the lack of one, refused.
    pub(super) refused: u64,
    pub(super) large: bool,
    pub(super) interest: Interest,
    /// Sockets: whether the reader's word that it writes no more was passed on.
    pub(super) mirrored: bool,
}

impl Tee {
    /// Watches both ends; the command has its own already.
    pub(super) fn start(
        id: u64,
        medium: Medium,
        (input, own): (OwnedFd, Inode),
        (out, original): (OwnedFd, Inode),
        stream: Stream,
        owner: Owner,
        shared: &Shared,
    ) -> Result<Tee, OutputError> {
        let tee = Tee {
            id,
            medium,
            input,
            out,
            own,
            original,
            stream,
            owner,
            kept: Kept::default(),
            pending: Vec::new(),
            ahead: 0,
            handed: 0,
            refused: 0,
            large: false,
            interest: Interest::Input,
            mirrored: medium == Medium::Pipe,
        };
        let fail = || OutputError::system("watch the output of a command");
        epoll::add(&shared.epoll, &tee.input, tee.input_data(), EventFlags::IN).map_err(fail())?;
        epoll::add(&shared.epoll, &tee.out, tee.out_data(), tee.out_flags(false)).map_err(fail())?;
        Ok(tee)
    }

    fn input_data(&self) -> EventData {
        EventData::new_u64(self.id << 1)
    }

    fn out_data(&self) -> EventData {
        EventData::new_u64(self.id << 1 | 1)
    }

    /// ERR and HUP are always reported: an idle reader that closes is seen at once.
    fn out_flags(&self, room: bool) -> EventFlags {
        let half = if self.mirrored { EventFlags::empty() } else { EventFlags::RDHUP };
        if room { half | EventFlags::OUT } else { half }
    }

    pub(super) fn source(&self) -> Source {
        self.medium.source()
    }

    /// Bytes handed on or refused.
    pub(super) fn accounted(&self) -> u64 {
        self.handed + self.refused
    }

    /// Bytes that are kept and wait for the reader.
    pub(super) fn waiting(&self) -> u64 {
        (self.pending.len() + self.ahead) as u64
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.interest == Interest::Room
    }

    pub(super) fn wait_for(&mut self, interest: Interest, shared: &Shared) -> Result<(), OutputError> {
        if interest == self.interest {
            return Ok(());
        }
        let fail = || OutputError::system("watch the output of a command");
        let (was, is) = (self.interest, interest);
        self.interest = interest;
        // While the reader has no room, the input is not watched at all: its end would be reported again and again.
        if is == Interest::Room {
            epoll::delete(&shared.epoll, &self.input).map_err(fail())?;
            return self.watch_out(true, shared);
        }
        let flags = if is == Interest::HangUp { EventFlags::empty() } else { EventFlags::IN };
        if was == Interest::Room {
            self.watch_out(false, shared)?;
            epoll::add(&shared.epoll, &self.input, self.input_data(), flags).map_err(fail())
        } else {
            epoll::modify(&shared.epoll, &self.input, self.input_data(), flags).map_err(fail())
        }
    }

    pub(super) fn watch_out(&self, room: bool, shared: &Shared) -> Result<(), OutputError> {
        epoll::modify(&shared.epoll, &self.out, self.out_data(), self.out_flags(room))
            .map_err(OutputError::system("watch the output of a command"))
    }

    /// Lets go of both ends, so that the reader sees the end; gives what was kept.
    pub(super) fn close(self, shared: &mut Shared) -> Result<Kept, OutputError> {
        let fail = || OutputError::system("let go of the output of a command");
        // The description of a socket is shared, so that closing our descriptor would not unregister it.
        epoll::delete(&shared.epoll, &self.out).map_err(fail())?;
        if self.interest != Interest::Room {
            epoll::delete(&shared.epoll, &self.input).map_err(fail())?;
        }
        shared.pending -= self.pending.len();
        shared.large -= usize::from(self.large);
        Ok(self.kept)
    }
}
