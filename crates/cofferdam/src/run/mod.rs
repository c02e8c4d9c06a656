//! `coffer run` and `coffer shell`.

mod client;
mod copy;
mod terminal;

use cofferdam_core::plan::Stdio;
use cofferdam_runtime::prepare::Prepared;
use cofferdam_runtime::split::{Client, Streams, split};

pub use client::{Outcome, follow};

/// What the first act of `main` made.
pub type Early = Option<std::io::Result<Client>>;

/// Starts the monitor and init at once where the arguments ask for a run; looks at them without copying them.
pub fn split_early() -> Early {
    let mut words = cofferdam_sys::argv::arguments().skip(1).map(std::ffi::CStr::to_bytes);
    let command = words.find(|word| !word.starts_with(b"-"))?;
    matches!(command, b"run" | b"shell").then(split)
}

/// The same, later: where the arguments did not show at once that there is a run.
pub fn split_now() -> std::io::Result<Client> {
    split()
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

/// The whole of a run, seen from the person's side.
pub fn start(client: Client, run: Prepared) -> std::io::Result<Outcome> {
    follow(client, run)
}
