//! Where a run executes: namespaces, the file-system view, Landlock, seccomp, init and the pty.
//!
//! Everything inside is assumed hostile. What stands here is the boundary: either every layer of it is in force when
//! the command starts, or there is no command.

mod agent;
mod channel;
mod connects;
mod dialer;
mod error;
mod exec;
pub mod filter;
mod init;
mod java_keystore;
mod landlock;
mod message;
mod network;
mod notices;
mod regular;
mod rename;
mod servant;
mod tier;
mod view;

pub use agent::occupy_standard_streams;
pub use channel::read_large;
pub use channel::{Channel, Received};
pub use connects::{Connecting, Connects};
pub use error::{EnclosureError, Step};
pub use exec::{Execs, Executed, Seen};
pub use java_keystore::JavaKeystore;
pub use landlock::{confine_reader, confine_writer};
pub use message::Report;
pub use network::{Listeners, Network, NetworkSockets, NetworkTier, Socket};
pub use notices::{Notice, Notices};
pub use regular::open_regular;
pub use rename::{LEFTOVER_PREFIX, Leftover, Renames, Restored, is_leftover, restore};
pub use tier::{Enclosure, Namespaces, Pipes, birth};
