//! Points in time as the evidence writes them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Nanoseconds since the Unix epoch, UTC; before 1970 negative.
///
/// Written as RFC 3339 with exactly nine decimals and `Z`: `2026-11-24T13:40:01.123456789Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The system clock, now.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// From the seconds and nanoseconds of a `struct timespec`; saturates beyond the years 1677 to 2262.
    pub fn from_parts(seconds: i64, nanoseconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
    }

    /// Whole seconds and the nanoseconds after them (0 to 999,999,999), as `struct timespec` has them.
    pub fn parts(self) -> (i64, i64) {
        (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Self {
        let signed = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match t.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(signed(after)),
            Err(before) => Timestamp(-signed(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
        let when = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).map_err(|_| fmt::Error)?;
        f.write_str(&when.format(form).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let when = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
        let nanos = when.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
        i64::try_from(nanos).map(Timestamp).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_decimals_and_back() {
        let t = Timestamp(1_795_527_601_000_000_007);
        let json = serde_json::to_string(&t).unwrap();
        assert_eq!(json, "\"2026-11-24T13:40:01.000000007Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), t);
        assert_eq!(Timestamp(-1).parts(), (-1, 999_999_999));
    }
}
