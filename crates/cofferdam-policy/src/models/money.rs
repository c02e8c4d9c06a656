//! Money: whole millionths of a US dollar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Millionths of a dollar.
const DOLLAR: u64 = 1_000_000;
/// Most whole dollars of a budget.
const MOST: u64 = 1_000_000_000;

/// An amount, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micro(pub u64);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAmount {
    /// Not a decimal number.
    #[error("an amount is a decimal number of dollars, as in 5.00")]
    Form,
    /// More than six digits behind the point.
    #[error("an amount has at most six digits behind the point")]
    TooFine,
    /// More than anybody has.
    #[error("an amount has at most {MOST} dollars")]
    TooLarge,
}

impl FromStr for Micro {
    type Err = NoAmount;

    /// Reads a decimal number of dollars exactly: `5`, `5.0`, `0.000001`. No sign, no exponent.
    fn from_str(text: &str) -> Result<Micro, NoAmount> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return Err(NoAmount::Form);
        }
        let part = part.trim_end_matches('0');
        if part.len() > 6 {
            return Err(NoAmount::TooFine);
        }
        let whole: u64 = whole.parse().map_err(|_| NoAmount::TooLarge)?;
        if whole > MOST {
            return Err(NoAmount::TooLarge);
        }
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| NoAmount::Form)?;
        Ok(Micro(whole * DOLLAR + part))
    }
}

impl fmt::Display for Micro {
    /// Dollars with at least two digits behind the point, and no more than it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:06}", self.0 % DOLLAR);
        let part = part.trim_end_matches('0');
        write!(f, "{}.{part:0<2}", self.0 / DOLLAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, micro, shown) in [
            ("5", 5_000_000, "5.00"),
            ("5.00", 5_000_000, "5.00"),
            ("0.1", 100_000, "0.10"),
            ("0.000001", 1, "0.000001"),
            ("1.2500000", 1_250_000, "1.25"),
            ("1000000000", 1_000_000_000_000_000, "1000000000.00"),
        ] {
            assert_eq!(text.parse(), Ok(Micro(micro)), "{text}");
            assert_eq!(Micro(micro).to_string(), shown);
        }
        for (text, why) in [
            ("", NoAmount::Form),
            ("-1", NoAmount::Form),
            ("+1", NoAmount::Form),
            ("1e3", NoAmount::Form),
            ("inf", NoAmount::Form),
            ("1.", NoAmount::Form),
            (".5", NoAmount::Form),
            ("0.0000001", NoAmount::TooFine),
            ("1000000001", NoAmount::TooLarge),
            ("99999999999999999999999", NoAmount::TooLarge),
        ] {
            assert_eq!(text.parse::<Micro>(), Err(why), "{text}");
        }
    }
}
