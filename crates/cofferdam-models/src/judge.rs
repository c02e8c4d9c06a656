//! Who decides which requests to models go out.

use cofferdam_core::event::{Cost, Usage};
use cofferdam_exchange::{Refusal, Target, Waiting};

use crate::Asked;

/// Decides. It is asked when all of a request is known and nothing of it has left.
pub trait Judge {
    /// What becomes of a request.
    ///
    /// # Errors
    /// The refusal that the agent is shown, in its protocol's form.
    fn judge<'a>(&'a self, target: &'a Target, asked: &'a Asked) -> Waiting<'a, Result<Ruling, Refusal>>;

    /// Whether a request may go out that could not be read as one to a model.
    ///
    /// # Errors
    /// The refusal.
    fn unread(&self, target: &Target, head: &http::request::Parts) -> Result<(), Refusal> {
        let _ = (target, head);
        Ok(())
    }
}

/// What becomes of a request that may go out.
#[derive(Default)]
pub struct Ruling {
    /// The model that it is to go to instead.
    pub model: Option<String>,
    /// Tools that are taken out of it, by name.
    pub without: Vec<String>,
    /// What it was promised of budgets; none where nothing is counted.
    pub permit: Option<Box<dyn Permit>>,
}

/// A part of budgets that a request holds. Dropped without [`Permit::settle`] all of it counts as used: what became of the
/// request is not known.
pub trait Permit {
    /// What the request used in truth; `None` where it never left.
    fn settle(self: Box<Self>, used: Option<(&Usage, Option<&Cost>)>);
}

/// Lets everything pass.
#[derive(Debug, Default)]
pub struct Everything;

impl Judge for Everything {
    fn judge<'a>(&'a self, _: &'a Target, _: &'a Asked) -> Waiting<'a, Result<Ruling, Refusal>> {
        Box::pin(std::future::ready(Ok(Ruling::default())))
    }
}

impl std::fmt::Debug for Ruling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ruling")
            .field("model", &self.model)
            .field("without", &self.without)
            .field("permit", &self.permit.is_some())
            .finish()
    }
}
