//! Errors at the edge: what happened, why, and what to do next.

use std::fmt::Display;
use std::process::ExitCode;

use crate::exit;

/// A command that did not succeed.
#[derive(Debug)]
pub struct Failure {
    what: String,
    next: Option<String>,
    code: u8,
}

impl Failure {
    /// What happened and why, in one line.
    pub fn new(what: impl Display) -> Failure {
        Failure { what: what.to_string(), next: None, code: exit::OURS }
    }

    /// What the person can do about it.
    pub fn next(mut self, next: impl Display) -> Failure {
        self.next = Some(next.to_string());
        self
    }

    /// The exit code, where it is not 125.
    pub fn code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// Prints it.
    pub fn report(&self) -> ExitCode {
        crate::output::complain(&self.what);
        if let Some(next) = &self.next {
            crate::output::advise(next);
        }
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Failure::new(e)
    }
}
