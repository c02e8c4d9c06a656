//! Exchanges as interceptors see them: the only way by which credentials, packages and models look at HTTP and change it.
//!
//! Nothing here knows of sockets: an [`Interceptor`] is tested by calling it. The gateway drives it: policy first, then
//! each interceptor's [`Interceptor::request`] in order, then the head goes out; bodies pass through the [`Filter`]s
//! that it asked for, or come as a [`Whole`] first.

pub mod credentials;
pub mod decoding;
pub mod filter;
pub mod interceptor;
pub mod refusal;
pub mod text;
pub mod whole;

pub use credentials::is_credential;
pub use decoding::Decoding;
pub use filter::Filter;
pub use interceptor::{Answer, Interceptor, Notes, Target, Verdict, Waiting};
pub use refusal::Refusal;
pub use text::cut;
pub use whole::{Awaits, Onward, Records, Request, Whole};
