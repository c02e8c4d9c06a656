//! Values that must not stand in the evidence.

use std::fmt;

use cofferdam_core::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Fewest bytes of a value: shorter ones would strike words that have nothing to do with them.
const MIN_VALUE: usize = 8;
/// Fewest different bytes of a value.
const MIN_DIFFERENT: usize = 5;
/// Fewest bytes of a value that has only lower-case letters, only capitals or only digits, besides `-`, `_` and `.`: a
/// shorter one may be an ordinary word, or one of the words of the event format.
const MIN_PLAIN: usize = 16;
/// Most bytes of a value.
const MAX_VALUE: usize = 4 << 10;
/// Most bytes of all values: the forms have ten to thirty times as many, and the automaton takes about 60 bytes for each
/// while it is built. The monitor's memory is bounded.
const MAX_ALL: usize = 8 << 10;
const MAX_NAME: usize = 64;

/// Secret values by name. They are serialised only to hand them from the client to the monitor, in sealed memory; they
/// are never stored, and `Debug` shows the names alone.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secrets(Vec<Secret>);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) value: Bytes,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.value.0.zeroize();
    }
}

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has fewer than 8 bytes.
    #[error("it is shorter than {MIN_VALUE} bytes")]
    Short,
    /// It has fewer than 5 different bytes, or is one plain word or number of fewer than 16.
    #[error("it is too plain: ordinary text would be struck with it")]
    Plain,
    /// It has more than 4 KiB, or all values together would have more than 8 KiB.
    #[error("it is longer than {MAX_VALUE} bytes, or all values together than {MAX_ALL}")]
    Long,
}

impl Secrets {
    /// Adds a value under the name that stands in its place later: letters, digits, `_`, `-` and `.` of it, at most 64.
    /// A value that is there already keeps its first name.
    ///
    /// # Errors
    /// [`Refused`]: then the value is not struck.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if value.len() < MIN_VALUE {
            return Err(Refused::Short);
        }
        if is_plain(value) {
            return Err(Refused::Plain);
        }
        if self.0.iter().any(|known| known.value.0 == value) {
            return Ok(());
        }
        let all: usize = self.0.iter().map(|known| known.value.0.len()).sum();
        if value.len() > MAX_VALUE || all + value.len() > MAX_ALL {
            return Err(Refused::Long);
        }
        let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = name.chars().filter(kept).take(MAX_NAME).collect();
        self.0.push(Secret { name, value: value.into() });
        Ok(())
    }

    /// Adds those of others that are not there yet. Each of the two is bounded by itself.
    pub fn join(&mut self, others: Secrets) {
        for secret in others.0 {
            if !self.0.iter().any(|known| known.value == secret.value) {
                self.0.push(secret);
            }
        }
    }

    /// As [`Secrets::add`], for a value that is made anew from time to time: where there is no room, older ones of its
    /// name are forgotten.
    ///
    /// # Errors
    /// As [`Secrets::add`].
    pub fn renew(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        loop {
            match self.add(name, value) {
                Err(Refused::Long) if value.len() <= MAX_VALUE => {
                    let oldest = self.0.iter().position(|known| known.name == name).ok_or(Refused::Long)?;
                    self.0.remove(oldest);
                }
                other => return other,
            }
        }
    }

    /// Those whose value is not what `leaves` says may go out.
    #[must_use]
    pub fn without(&self, leaves: impl Fn(&[u8]) -> bool) -> Secrets {
        Secrets(self.0.iter().filter(|secret| !leaves(&secret.value.0)).cloned().collect())
    }

    /// The names, in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|secret| secret.name.as_str())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Whether ordinary text may well hold the value.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    value.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    if seen.iter().filter(|there| **there).count() < MIN_DIFFERENT {
        return true;
    }
    let only = |class: fn(&u8) -> bool| value.iter().all(|b| class(b) || matches!(b, b'-' | b'_' | b'.'));
    value.len() < MIN_PLAIN
        && (only(u8::is_ascii_lowercase) || only(u8::is_ascii_uppercase) || only(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_ordinary_text_holds_are_not_taken() {
        let mut secrets = Secrets::default();
        for (value, refused) in [
            ("", Refused::Short),
            ("Tr0ub4d", Refused::Short),
            ("postgres", Refused::Plain),
            ("monitor-died", Refused::Plain),
            ("1795527601", Refused::Plain),
            ("PRODUCTION", Refused::Plain),
            ("aAaAaAaAaAaAaAaAaAaA", Refused::Plain),
            (&"aB3$x".repeat(4096), Refused::Long),
        ] {
            assert_eq!(secrets.add("A", value.as_bytes()), Err(refused), "{value}");
        }
        assert!(secrets.is_empty());
        for (name, value) in [("A", "hunter2hunter2"), ("B", "correcthorsebattery"), ("C/\u{e9}", "4000123412341234")] {
            secrets.add(name, value.as_bytes()).unwrap();
        }
        secrets.add("AGAIN", b"hunter2hunter2").unwrap();
        assert_eq!(secrets.names().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(format!("{secrets:?}"), r#"["A", "B", "C"]"#);
    }

    #[test]
    fn all_values_together_are_bounded() {
        let mut secrets = Secrets::default();
        let value = |n: usize| format!("{n:04}-aB3$x").into_bytes().repeat(200);
        let taken = (0..10).take_while(|n| secrets.add("A", &value(*n)).is_ok()).count();
        assert_eq!(taken, MAX_ALL / value(0).len());
        assert_eq!(secrets.add("B", &value(9)), Err(Refused::Long));
        assert_eq!(secrets.renew("B", &value(9)), Err(Refused::Long), "nothing of that name can go");
        secrets.renew("A", &value(9)).unwrap();
        assert_eq!(secrets.names().count(), taken);
        assert!(secrets.iter().all(|secret| secret.value.0 != value(0)), "the oldest went");
    }
}
