//! How the gateway gets a credential's value: it asks the monitor, which asks a broker.

use std::cell::RefCell;
use std::rc::Rc;

use cofferdam_credentials::Fetch;
use cofferdam_credentials::inject::Value;
use cofferdam_evidence::{Secrets, Striker};
use cofferdam_exchange::Waiting;
use cofferdam_gateway::Handle;
use zeroize::Zeroizing;

use super::wanted::Wanted;

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
    fn fetch(&self, name: &str) -> Waiting<'static, Result<Value, String>> {
        let asked = Wanted::Credential(name.to_owned()).words().map(|words| self.handle.ask(words));
        let name = name.to_owned();
        let (secrets, known) = (Rc::clone(&self.secrets), self.known.clone());
        Box::pin(async move {
            let value = Zeroizing::new(asked?.await?.0);
            let mut secrets = secrets.borrow_mut();
            secrets.renew(&name, &value).map_err(|e| format!("it could not be kept from other requests: {e}"))?;
            known.renew(&secrets).map_err(|e| e.to_string())?;
            Ok(value)
        })
    }
}
