//! How the gateway gets a credential's value: it asks the monitor, which asks a broker.

use std::cell::RefCell;
use std::rc::Rc;

use cofferdam_credentials::Fetch;
use cofferdam_credentials::inject::Fetched;
use cofferdam_credentials::oauth::Digest;
use cofferdam_evidence::{Secrets, Striker};
use cofferdam_exchange::Waiting;
use cofferdam_gateway::Handle;
use zeroize::Zeroizing;

use super::wanted::Wanted;
use crate::broker::{Given, Question};

/// Fetches values, and lets the guard know them: but in their own fields, which are written after it has looked, they are
/// secrets that do not leave.
pub(super) struct Values {
    handle: Handle,
    secrets: Rc<RefCell<Secrets>>,
    /// The guard's.
    known: Striker,
}

impl Values {
    pub(super) fn new(handle: Handle, secrets: Secrets, known: Striker) -> Values {
        Values { handle, secrets: Rc::new(RefCell::new(secrets)), known }
    }
}

impl Fetch for Values {
    fn fetch(&self, name: &str, not: Option<Digest>) -> Waiting<'static, Result<Fetched, String>> {
        let name = name.to_owned();
        let question = Wanted::Credential(Question { credential: name.clone(), not }).words();
        let asked = question.map(|question| self.handle.ask(question));
        let (secrets, known) = (Rc::clone(&self.secrets), self.known.clone());
        Box::pin(async move {
            let answer = Zeroizing::new(asked?.await?.0);
            // What a parser says of it may quote it.
            let given: Given = serde_json::from_slice(&answer).map_err(|_| "the monitor's answer does not read")?;
            let (value, until) = (Zeroizing::new(given.value.0), given.until);
            let mut secrets = secrets.borrow_mut();
            secrets.renew(&name, &value).map_err(|e| format!("it could not be kept from other requests: {e}"))?;
            known.renew(&secrets).map_err(|e| e.to_string())?;
            Ok(Fetched { value, until })
        })
    }
}
