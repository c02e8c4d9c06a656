//! What the monitor and the helper say to each other, one packet a message.

use cofferdam_core::Bytes;
use serde::{Deserialize, Serialize};

use crate::EnclosureError;

/// From the monitor; answered before the next one is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Make this rename possible. Descriptors: the old name's parent, the new name's.
    Prepare {
        /// The notification.
        id: u64,
        /// `RENAME_*` of `rename(2)`.
        flags: u32,
        /// The last component of the old path.
        old: Bytes,
        /// The last component of the new path.
        new: Bytes,
    },
    /// Take back what another helper had begun when it died. Descriptor: the parent.
    Undo {
        /// The notification.
        id: u64,
        /// The directory that was being purified.
        name: Bytes,
        /// The temporary directory beside it.
        temporary: Bytes,
    },
}

/// From the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It could not confine itself and is gone.
    Unconfined(EnclosureError),
    /// From now on there is something to undo. Descriptor: the parent. Comes before the first change, for an exchange
    /// twice.
    Begun {
        /// The notification.
        id: u64,
        /// The directory that is being purified.
        name: Bytes,
        /// The temporary directory beside it.
        temporary: Bytes,
    },
    /// A request is carried out.
    Done {
        /// The notification.
        id: u64,
        /// 0: the kernel may carry out the call. Otherwise the caller's error.
        errno: i32,
        /// Whether the temporary directory named last could not be emptied and is still there.
        left: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_survive_the_wire() {
        let request = Request::Prepare { id: u64::MAX, flags: 1, old: b"a\xff\n".as_slice().into(), new: "b".into() };
        let wire = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&wire).unwrap(), request);
    }
}
