//! Where a connection goes, and which it is.

use std::time::Instant;

/// Where a program wants to go, as it named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The name that it looked up, or the address that it used, in the form that policy compares.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// One accepted connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Its number within the run, from 1.
    pub number: u64,
    /// The cookie of the program's socket (`SO_COOKIE`, `socket(7)`), by which the monitor knows its owner.
    pub owner: Option<u64>,
    /// When it was accepted.
    pub since: Instant,
}
