//! The person's terminal in raw mode, and back.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal whose state is remembered. Restores it when dropped.
#[derive(Debug)]
pub struct Terminal {
    fd: OwnedFd,
    before: Termios,
    raw: bool,
}

impl Terminal {
    /// The terminal of standard input.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open() -> io::Result<Terminal> {
        let fd = rustix::stdio::stdin().try_clone_to_owned()?;
        let before = tcgetattr(&fd)?;
        Ok(Terminal { fd, before, raw: false })
    }

    /// Every key reaches the command as it is (`cfmakeraw(3)`).
    ///
    /// # Errors
    /// Those of `tcsetattr(3)`.
    pub fn raw(&mut self) -> io::Result<()> {
        let mut state = self.before.clone();
        state.make_raw();
        tcsetattr(&self.fd, OptionalActions::Now, &state)?;
        self.raw = true;
        Ok(())
    }

    /// As it was before.
    pub fn restore(&mut self) {
        if self.raw {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(&self.fd, OptionalActions::Drain, &self.before);
            self.raw = false;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Rows and columns of a terminal; 24 by 80 where it does not say.
pub fn size(fd: BorrowedFd<'_>) -> (u16, u16) {
    match tcgetwinsize(fd) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}
