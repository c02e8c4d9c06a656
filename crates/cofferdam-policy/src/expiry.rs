//! When a rule ends: a date, or a moment with its offset from UTC.

use cofferdam_core::Timestamp;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};
use toml::value::Datetime;

use crate::rule::Expiry;

/// Why a value is no end of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpiryProblem {
    /// A local time could be any of a day's hours.
    #[error("a time needs its offset from UTC, as in `2027-01-31T18:00:00Z`")]
    WithoutOffset,
    /// A time of day comes back every day.
    #[error("a time of day is no end: write a date")]
    WithoutDate,
    /// Such as the 30th of February.
    #[error("there is no such day or time")]
    Impossible,
}

/// Reads it.
pub(crate) fn expiry(value: &Datetime) -> Result<Expiry, ExpiryProblem> {
    let Some(date) = value.date else { return Err(ExpiryProblem::WithoutDate) };
    let written = value.to_string();
    let moment = if value.time.is_none() {
        let month = Month::try_from(date.month).map_err(|_| ExpiryProblem::Impossible)?;
        let day =
            Date::from_calendar_date(i32::from(date.year), month, date.day).map_err(|_| ExpiryProblem::Impossible)?;
        let after = day.next_day().ok_or(ExpiryProblem::Impossible)?;
        OffsetDateTime::new_in_offset(after, Time::MIDNIGHT, UtcOffset::UTC)
    } else if value.offset.is_none() {
        return Err(ExpiryProblem::WithoutOffset);
    } else {
        OffsetDateTime::parse(&written, &Rfc3339).map_err(|_| ExpiryProblem::Impossible)?
    };
    let nanoseconds = moment.unix_timestamp_nanos();
    // Beyond the year 2262 the clock of a timestamp ends; so does nobody's rule.
    let at = i64::try_from(nanoseconds).unwrap_or(if nanoseconds > 0 { i64::MAX } else { i64::MIN });
    Ok(Expiry { at: Timestamp(at), written })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<i64, ExpiryProblem> {
        expiry(&text.parse().unwrap()).map(|e| e.at.0 / 1_000_000_000)
    }

    #[test]
    fn a_date_is_good_to_its_end_in_utc() {
        assert_eq!(at("2027-01-31"), Ok(1_801_440_000));
        assert_eq!(at("1970-01-01"), Ok(86_400));
        assert_eq!(at("2027-01-31T18:00:00+02:00"), Ok(1_801_411_200));
        assert_eq!(at("9999-12-30").map(|_| ()), Ok(()));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        assert_eq!(at("2027-01-31T18:00:00"), Err(ExpiryProblem::WithoutOffset));
        assert_eq!(at("18:00:00"), Err(ExpiryProblem::WithoutDate));
    }
}
