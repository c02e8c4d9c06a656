//! The gateway: the one process through which bytes leave an enclosure.
//!
//! Born at the first look-up or connection of a run, it holds sockets that lie in the enclosure's network namespace and
//! connects outside itself. Names, connections, TLS and HTTP are its business; which requests may go is decided by
//! policy, and what else happens to them by [`cofferdam_exchange::Interceptor`]s that it does not know. It parses hostile
//! bytes, so it confines itself before it reads any: it can read no file of the person's, write none, and execute nothing.
//! What it did it tells the monitor ([`wire`]), which alone has the log.

pub mod authority;
pub mod client;
pub mod settings;
pub mod wire;

mod accept;
mod classify;
mod confine;
mod dns;
mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod handle;
mod http;
mod lanes;
mod names;
mod outside;
mod owner;
mod passthrough;
mod pipes;
mod place;
mod publish;
mod refuse;
mod relay;
mod room;
mod roots;
#[cfg(test)]
mod testing;
mod tls;

pub use authority::Authority;
pub use error::GatewayError;
pub use gateway::{Gateway, serve};
pub use handle::Handle;
pub use names::{first_addresses, is_synthetic};
pub use place::{Connection, Place};
pub use settings::{Before, Settings, Sockets};
pub use wire::{Hear, Kept, Ledger, Publication, Say};
