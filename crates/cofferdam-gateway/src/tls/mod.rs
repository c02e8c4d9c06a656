//! TLS at both ends: certificates of the run's authority towards programs, verified connections towards servers.

mod failure;
mod inside;
mod leaves;
mod outside;

pub(crate) use failure::{of_program, of_server};
pub(crate) use inside::{AcceptError, accept};
pub(crate) use leaves::{Leaves, LeavesError};
pub(crate) use outside::Servers;
