//! The seccomp filter: reviewed data ([`table`]) and the small compiler that turns it into a BPF program ([`compile`]).
//!
//! One program does everything: other architectures are killed, numbers newer than this table are told ENOSYS, the
//! table's calls are refused, renames, execs and connects are notified to the monitor, the rest is allowed. The kernel caches which calls are
//! allowed whatever their arguments (5.11), so that the length of the table costs nothing at run time.

mod compile;
pub(crate) mod renames;
mod table;

pub use compile::{Notify, program};
pub use table::{CONNECTS, Condition, EXECS, HIGHEST, RENAMES, Row, TABLE};
