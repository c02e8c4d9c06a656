//! The monitor's end of the socket by which a run that goes on is asked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cofferdam_core::event::{EventKind, PublishedBy};
use cofferdam_enclosure::{Channel, Received};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt::socket_peercred,
};

use super::outlet::Outlet;
use super::record::{RecordError, Recorder};
use crate::control::{NAME, Reply, Request, address};

/// Most connections at once: more wait in the listener's queue.
const PEERS: usize = 8;

/// Who may ask, and who has connected.
pub(super) struct Control {
    path: PathBuf,
    listener: OwnedFd,
    peers: Vec<Channel>,
}

impl Control {
    /// Listens in the run's directory.
    ///
    /// # Errors
    /// Those of `bind(2)`.
    pub(super) fn open(directory: &Path) -> io::Result<Control> {
        let (_directory, address) = address(directory)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&listener, &address)?;
        listen(&listener, 8)?;
        Ok(Control { path: directory.join(NAME), listener, peers: Vec::new() })
    }

    /// What to poll for; [`Control::turn`] takes what came of it, in the same order.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let room = if self.peers.len() < PEERS { PollFlags::IN } else { PollFlags::empty() };
        let listener = PollFd::from_borrowed_fd(self.listener.as_fd(), room);
        let peers = self.peers.iter().map(|peer| PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::IN));
        [listener].into_iter().chain(peers).collect()
    }

    /// Answers what came.
    ///
    /// # Errors
    /// Those of `answer`.
    pub(super) fn turn<E>(
        &mut self,
        ready: &[PollFlags],
        mut answer: impl FnMut(Request, Vec<OwnedFd>) -> Result<(Reply, Option<OwnedFd>), E>,
    ) -> Result<(), E> {
        let came = |at: usize| ready.get(at + 1).is_some_and(|flags| !flags.is_empty());
        let peers = std::mem::take(&mut self.peers);
        for (at, peer) in peers.into_iter().enumerate() {
            if !came(at) {
                self.peers.push(peer);
                continue;
            }
            // One question a connection. Whoever left meanwhile needs no answer.
            if let Ok(Some(Received::Message(request, files))) = peer.receive_now::<Request>() {
                let (reply, file) = answer(request, files)?;
                let _ = peer.send_now(&reply, file.as_ref().map(AsFd::as_fd).as_slice());
            }
        }
        if ready.first().is_some_and(|flags| !flags.is_empty())
            && let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC)
            && socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::getuid())
        {
            self.peers.push(Channel::from(socket));
        }
        Ok(())
    }
}

/// Does what is asked.
///
/// # Errors
/// Where it cannot be recorded.
pub(super) fn answer(
    request: Request,
    files: Vec<OwnedFd>,
    outlet: &mut Outlet,
    recorder: &mut Recorder,
    dial: impl Fn(u16) -> io::Result<OwnedFd>,
) -> Result<(Reply, Option<OwnedFd>), RecordError> {
    let reply = match request {
        Request::Allow(rule) => outlet.allow(rule, recorder)?,
        Request::Publish { port } => outlet.publish(port, files, PublishedBy::Live, recorder, dial)?,
        Request::Unpublish { port } => outlet.unpublish(port, recorder)?,
        Request::Listening => outlet.listening(),
        Request::View => {
            let Some(view) = recorder.capture.view().and_then(|view| view.try_clone_to_owned().ok()) else {
                return Ok((Reply::Refused("its workspace cannot be handed out".to_owned()), None));
            };
            // Recorded before the person can change anything there.
            let uid = rustix::process::getuid().as_raw();
            recorder.append(None, EventKind::WorkspaceOpened { uid })?;
            return Ok((Reply::View, Some(view)));
        }
    };
    Ok((reply, None))
}

impl Drop for Control {
    fn drop(&mut self) {
        // What stays answers nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}
