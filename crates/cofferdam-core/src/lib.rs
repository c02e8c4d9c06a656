//! The words of Cofferdam: identifiers, byte paths, events, and the plan of a run.
//!
//! Plain data and its serialised form. Nothing here touches a file, a process or the environment.

pub mod bytes;
pub mod change;
pub mod event;
pub mod id;
pub mod leftover;
pub mod plan;
pub mod publish;
pub mod timestamp;

pub use bytes::Bytes;
pub use id::{RunId, RunIdError};
pub use publish::{Publish, PublishError};
pub use timestamp::Timestamp;
