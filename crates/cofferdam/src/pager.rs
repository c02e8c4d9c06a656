//! The person's pager, where output goes to a terminal.

use std::io::{self, Stdout, Write};
use std::process::{Child, Command, Stdio};

use cofferdam_runtime::plan::Host;

use crate::failure::Failure;

/// Where output goes: through a pager, or straight on.
pub struct Pager {
    child: Option<Child>,
}

/// One of the two.
pub enum Out<'a> {
    /// The pager's standard input.
    Pager(&'a mut std::process::ChildStdin),
    /// Ours.
    Stdout(io::BufWriter<Stdout>),
}

impl Pager {
    /// Starts `$COFFER_PAGER`, `$PAGER` or `less` where `wanted`; goes without where there is none, or it is `cat` or
    /// empty.
    ///
    /// # Errors
    /// Where the named pager cannot be started.
    pub fn start(host: &Host, wanted: bool) -> Result<Pager, Failure> {
        let named = host.var("COFFER_PAGER").or_else(|| host.var("PAGER"));
        let command = named.map_or("less".to_owned(), |v| v.as_os_str().to_string_lossy().into_owned());
        if !wanted || command.is_empty() || command == "cat" {
            return Ok(Pager { child: None });
        }
        // As git does: quit where it fits on a screen, pass colours, do not clear.
        let less = host.var("LESS").map_or_else(|| "FRX".into(), |v| v.as_os_str().to_owned());
        let child = Command::new("sh").args(["-c", &command]).env("LESS", less).stdin(Stdio::piped()).spawn();
        match child {
            Ok(child) => Ok(Pager { child: Some(child) }),
            Err(_) if named.is_none() => Ok(Pager { child: None }),
            Err(e) => {
                Err(Failure::new(format!("the pager `{command}` cannot be started: {e}"))
                    .next("--no-pager does without"))
            }
        }
    }

    /// Where to write.
    pub fn out(&mut self) -> Out<'_> {
        match self.child.as_mut().and_then(|c| c.stdin.as_mut()) {
            Some(stdin) => Out::Pager(stdin),
            None => Out::Stdout(io::BufWriter::new(io::stdout())),
        }
    }

    /// Until the person has read it.
    ///
    /// # Errors
    /// Where the pager cannot be waited for.
    pub fn wait(mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait()?;
        }
        Ok(())
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Pager(out) => out.write(bytes),
            Out::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Pager(out) => out.flush(),
            Out::Stdout(out) => out.flush(),
        }
    }
}
