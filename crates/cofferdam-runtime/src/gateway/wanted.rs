//! What the gateway asks the monitor for.

use cofferdam_models::budget::ask::Ask;
use serde::{Deserialize, Serialize};

use crate::broker::Question;

/// The words of `Say::Ask`, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wanted {
    /// The value of a credential.
    Credential(Question),
    /// A word of the ledger of budgets.
    Budget(Ask),
}

impl Wanted {
    /// In words.
    ///
    /// # Errors
    /// Where it has none, which no value of this type can cause.
    pub(crate) fn words(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|e| e.to_string())
    }
}
