//! `coffer run` and `coffer shell`.

mod client;
mod copy;
mod input;
mod terminal;

use cofferdam_core::plan::Stdio;
use cofferdam_runtime::split::{Client, Streams};

pub use client::{Outcome, follow};
pub use cofferdam_runtime::split::split;

/// What the first act of `main` made.
pub type Early = Option<std::io::Result<Client>>;

/// Starts the monitor and init at once where the arguments ask for a run; looks at them without copying them.
pub fn split_early() -> Early {
    let mut words = cofferdam_sys::argv::arguments().skip(1).map(std::ffi::CStr::to_bytes);
    let command = words.find(|word| !word.starts_with(b"-"))?;
    matches!(command, b"run" | b"shell").then(split)
}

/// How the streams of a client are connected, for the plan.
pub fn stdio(client: &Client) -> Stdio {
    match client.streams {
        Streams::Terminal { .. } => {
            let (rows, columns) = terminal::size(rustix::stdio::stdin());
            Stdio::Pty { rows, columns }
        }
        Streams::Pipes { .. } => Stdio::Pipes,
    }
}

/// How wide the person's terminal is.
pub fn columns() -> u16 {
    terminal::size(rustix::stdio::stdout()).1
}
