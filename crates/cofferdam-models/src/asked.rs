//! What a request asks of a model, whatever protocol it is in.

use cofferdam_core::event::Protocol;

/// A request, as far as rules and budgets look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose model it is: see `provider` of [`cofferdam_core::event::ModelRequest`].
    pub provider: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The model that it names.
    pub model: String,
    /// The tools that it offers, by name.
    pub tools: Vec<String>,
    /// Most tokens that it lets the model write, where it says.
    pub most: Option<u64>,
    /// Bytes of its body: no provider counts more tokens of a text than it has bytes.
    pub bytes: u64,
    /// The body itself.
    pub body: bytes::Bytes,
}
