//! Credentials that are used inside without being there: where values come from ([`source`]), what stands for them inside
//! ([`placeholder`]), and the interceptor that puts them into requests ([`Injector`]).
//!
//! A credential opens nothing: what it sees was allowed by a rule before.

pub mod inject;
pub mod oauth;
pub mod placeholder;
pub mod source;

mod field;
mod mask;

pub use inject::{Fetch, Injector, Planned};
pub use placeholder::placeholder;
pub use source::{FetchError, Surroundings, fetch};
