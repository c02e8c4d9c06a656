//! How the gateway asks the ledger of budgets: through the monitor.

use cofferdam_exchange::Waiting;
use cofferdam_gateway::Handle;
use cofferdam_models::budget::ask::{Answer, Ask, Used};
use cofferdam_models::budget::judge::Counter;

use super::wanted::Wanted;

/// Asks the monitor.
pub(super) struct Asks(pub(super) Handle);

impl Counter for Asks {
    fn reserve(&self, most: Used) -> Waiting<'static, Result<Answer, String>> {
        let asked = Wanted::Budget(Ask::Reserve(most)).words().map(|words| self.0.ask(words));
        Box::pin(async move {
            let answer = asked?.await?;
            serde_json::from_slice(&answer.0).map_err(|e| format!("the ledger's answer does not read: {e}"))
        })
    }

    fn settle(&self, number: u64, used: Option<Used>) {
        // What is not heard stays reserved, and counts.
        if let Ok(words) = Wanted::Budget(Ask::Settle { number, used }).words() {
            self.0.tell(words);
        }
    }
}
