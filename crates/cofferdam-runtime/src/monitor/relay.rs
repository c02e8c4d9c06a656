//! The bytes between a pty and the client, with bounded buffers: a slow terminal slows the command, not the monitor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::Winsize;

use super::record::RecordError;

const ROOM: usize = 64 * 1024;

/// Who sees what passes.
pub(super) trait Witness {
    /// What the command printed, in order.
    fn shown(&mut self, output: &[u8]) -> Result<(), RecordError>;
    /// What the person typed, before the terminal, whose master is `tty`, has it.
    fn typed(&mut self, keys: &[u8], tty: &OwnedFd) -> Result<(), RecordError>;
}

/// One pty and one client.
pub(super) struct Relay {
    client: OwnedFd,
    master: Option<OwnedFd>,
    to_client: VecDeque<u8>,
    to_master: VecDeque<u8>,
    client_open: bool,
}

impl Relay {
    pub(super) fn new(client: OwnedFd) -> Relay {
        Relay { client, master: None, to_client: VecDeque::new(), to_master: VecDeque::new(), client_open: true }
    }

    /// Takes the pty's master.
    pub(super) fn attach(&mut self, master: OwnedFd) -> io::Result<()> {
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK)?;
        self.master = Some(master);
        Ok(())
    }

    pub(super) fn resize(&mut self, rows: u16, columns: u16) -> io::Result<()> {
        if let Some(master) = &self.master {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(master, size)?;
        }
        Ok(())
    }

    /// What to poll for: the client, then the master.
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(
            &self.client,
            when(self.client_open && self.to_master.len() < ROOM, PollFlags::IN)
                | when(self.client_open && !self.to_client.is_empty(), PollFlags::OUT),
        )];
        if let Some(master) = &self.master {
            fds.push(PollFd::new(
                master,
                when(self.to_client.len() < ROOM, PollFlags::IN) | when(!self.to_master.is_empty(), PollFlags::OUT),
            ));
        }
        fds
    }

    /// Moves what can be moved.
    pub(super) fn turn(&mut self, ready: &[PollFlags], witness: &mut impl Witness) -> Result<(), super::Failure> {
        let client = ready.first().copied().unwrap_or(PollFlags::empty());
        let master = ready.get(1).copied().unwrap_or(PollFlags::empty());
        if client.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let before = self.to_master.len();
            self.client_open = pump_in(&self.client, &mut self.to_master)?;
            if let Some(tty) = &self.master
                && self.to_master.len() > before
            {
                let keys: Vec<u8> = self.to_master.range(before..).copied().collect();
                witness.typed(&keys, tty)?;
            }
        }
        if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read_master(witness)?;
        }
        if let Some(fd) = &self.master
            && !self.to_master.is_empty()
        {
            pump_out(fd, &mut self.to_master)?;
        }
        self.flush();
        Ok(())
    }

    /// Reads what the pty holds, as far as there is room for it.
    pub(super) fn read_on(&mut self, witness: &mut impl Witness) -> Result<(), super::Failure> {
        while self.master.is_some() && self.to_client.len() < ROOM {
            let before = self.to_client.len();
            self.read_master(witness)?;
            if self.to_client.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// After the end: reads what the pty still holds, and gives the client what it takes within a second.
    pub(super) fn drain(&mut self, witness: &mut impl Witness) -> Result<(), super::Failure> {
        let mut patience = 10;
        loop {
            while self.master.is_some() && self.to_client.len() < ROOM {
                self.read_master(witness)?;
            }
            self.flush();
            if !self.client_open || self.master.is_none() && self.to_client.is_empty() || patience == 0 {
                return Ok(());
            }
            let mut fds = [PollFd::new(&self.client, PollFlags::OUT)];
            let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut fds, Some(&tick)).map_err(io::Error::from)? == 0 {
                patience -= 1;
            }
        }
    }

    /// One read of the pty; a master whose other side is closed is dropped.
    fn read_master(&mut self, witness: &mut impl Witness) -> Result<(), super::Failure> {
        let Some(fd) = &self.master else { return Ok(()) };
        let mut chunk = [0u8; 16 * 1024];
        match rustix::io::read(fd, &mut chunk) {
            Ok(got) if got > 0 => {
                witness.shown(&chunk[..got])?;
                if self.client_open {
                    self.to_client.extend(&chunk[..got]);
                }
            }
            Err(Errno::INTR) => {}
            // AGAIN here, before the end, means spurious readiness; EIO means that nobody has the other side open.
            Err(Errno::AGAIN) if !self.to_client.is_empty() => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::empty())];
                let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                rustix::event::poll(&mut fds, Some(&now)).map_err(io::Error::from)?;
                if fds[0].revents().contains(PollFlags::HUP) {
                    self.master = None;
                }
            }
            Ok(_) | Err(_) => self.master = None,
        }
        Ok(())
    }

    fn flush(&mut self) {
        if self.client_open && !self.to_client.is_empty() && pump_out(&self.client, &mut self.to_client).is_err() {
            self.client_open = false;
            self.to_client.clear();
        }
    }
}

/// Reads once into `queue`; `false` at the end of the stream.
fn pump_in(fd: &OwnedFd, queue: &mut VecDeque<u8>) -> io::Result<bool> {
    let mut chunk = [0u8; 16 * 1024];
    match rustix::io::read(fd, &mut chunk) {
        Ok(0) | Err(Errno::CONNRESET) => Ok(false),
        Ok(got) => {
            queue.extend(&chunk[..got]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// Writes as much as is taken.
fn pump_out(fd: &OwnedFd, queue: &mut VecDeque<u8>) -> io::Result<()> {
    while !queue.is_empty() {
        let (front, _) = queue.as_slices();
        match rustix::io::write(fd, front) {
            Ok(wrote) => drop(queue.drain(..wrote)),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
