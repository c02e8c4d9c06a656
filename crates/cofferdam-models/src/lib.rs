//! What agents and models say to each other: which agents there are ([`profile`]), how each provider is spoken to (`wire`), what a
//! request asks ([`asked`]), who decides what of it may pass ([`judge`]), what it costs ([`prices`]), and the interceptor that
//! records it ([`interceptor`]).

pub mod asked;
pub mod budget;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod interceptor;
pub mod judge;
pub mod prices;
pub mod profile;

mod answer;
mod seen;
mod turns;
mod wire;

pub use asked::Asked;
pub use interceptor::Models;
pub use judge::{Everything, Judge, Permit, Ruling};
pub use prices::Prices;
