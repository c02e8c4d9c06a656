//! Decoys: files of credentials that nobody has, in the home of a run. Opening one is evidence, and the network's guard
//! knows their contents.
//!
//! They are ordinary files of the home layer, made on the host before anything runs: whatever tells them from real ones
//! has read them. They stay from run to run, as credentials do; what is remembered of them lies beside the home, where no
//! enclosure sees it.

mod content;
mod ground;
mod place;
mod ssh_key;
mod table;

use cofferdam_core::Bytes;
use cofferdam_evidence::{Refused, Secrets};
use serde::{Deserialize, Serialize};

pub(crate) use place::{place, place_above};
pub(crate) use table::paths;

/// How the decoys of a run are told from secrets, where both are searched for.
pub(crate) const DECOY: &str = "decoy-";

/// A decoy that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decoy {
    /// Its name in the table.
    name: String,
    /// Below the home.
    path: String,
    /// Its bytes.
    size: u64,
    /// When it says that it was modified, in seconds of the system clock.
    mtime: i64,
    /// What of its content cannot stand anywhere by chance.
    tokens: Vec<Bytes>,
}

/// The decoys of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decoys {
    /// Those that stand.
    standing: Vec<Decoy>,
    /// What stood in the same home earlier, and may be kept in it still: name and token.
    spent: Vec<(String, Bytes)>,
}

impl Decoy {
    /// Below the home.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether a regular file of this size and time is it.
    pub(crate) fn is(&self, stat: &rustix::fs::Stat) -> bool {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
            && u64::try_from(stat.st_size) == Ok(self.size)
            && stat.st_mtime == self.mtime
    }
}

impl Decoys {
    /// Those that stand.
    pub(crate) fn standing(&self) -> &[Decoy] {
        &self.standing
    }

    /// Adds their contents to what must not leave.
    ///
    /// # Errors
    /// Where there is no room for one more.
    pub(crate) fn add_to(&self, secrets: &mut Secrets) -> Result<(), Refused> {
        let standing = self.standing.iter().flat_map(|d| d.tokens.iter().map(|token| (&d.name, token)));
        for (name, token) in standing.chain(self.spent.iter().map(|(name, token)| (name, token))) {
            secrets.add(&format!("{DECOY}{name}"), &token.0)?;
        }
        Ok(())
    }
}
