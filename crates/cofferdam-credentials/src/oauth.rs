//! Subscription sign-ins (OAuth 2, RFC 6749) of agents: the person is signed in outside, and nothing inside has a token.
//!
//! Where an agent keeps its tokens is data ([`SignIn`]). Inside stands a file of the same shape with placeholders
//! ([`StandIn`]). The real tokens stay in the person's own file, which is refreshed outside, once for all who need it
//! ([`Keeper`]): under a lock, by whoever notices first, journalled before it is written back.

mod answer;
mod error;
#[cfg(test)]
mod fake;
mod jwt;
mod keeper;
mod lock;
mod place;
mod pointer;
mod signin;
mod standin;
mod state;
mod tokens;
mod url;

pub use answer::{Grant, granted};
pub use error::SignInError;
pub use keeper::{Keeper, Kept, Post, Reply, Wanted};
pub use place::Place;
pub use signin::{Carries, Form, Moved, SignIn, SignInsError, known};
pub use standin::StandIn;
pub use tokens::{Digest, Tokens};
pub use url::TokenUrl;
