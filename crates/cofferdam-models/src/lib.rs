//! What agents and models say to each other: which agents there are ([`profile`]), how each provider is spoken to
//! ([`asked`]), and who decides what of it may pass ([`judge`]).

pub mod asked;
pub mod judge;
pub mod profile;

pub use asked::Asked;
pub use judge::{Judge, Permit, Ruling};
