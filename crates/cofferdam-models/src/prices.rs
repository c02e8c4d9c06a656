//! What models cost: a dated table, which a person can replace.

use cofferdam_core::event::{Cost, Usage};
use cofferdam_policy::models::name::matches;
use serde::{Deserialize, Serialize};

/// The table that is shipped.
const SHIPPED: &str = include_str!("../data/prices.toml");
/// Millionths of a dollar.
const MICRO: u64 = 1_000_000;

/// Prices of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day they are of (`2026-11-25`).
    day: String,
    /// The first one that a model's name matches counts.
    #[serde(default)]
    model: Vec<Price>,
}

/// The price of some models, for a million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// Patterns of their names.
    names: Vec<String>,
    /// Where it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Read.
    input: Dollars,
    /// Read from a cache; as what is read without one, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<Dollars>,
    /// Read and written to a cache; as what is read without one, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<Dollars>,
    /// Written, reasoning included.
    output: Dollars,
    /// All of a request that reads much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    long: Option<Long>,
}

/// The price of long requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    /// Tokens read, cached ones too, up to which none is long.
    over: u64,
    /// As of [`Price`].
    input: Dollars,
    /// As of [`Price`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<Dollars>,
    /// As of [`Price`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<Dollars>,
    /// As of [`Price`].
    output: Dollars,
}

/// US dollars, exactly, in millionths; in text a decimal number (`"0.075"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Dollars(u64);

impl TryFrom<String> for Dollars {
    type Error = String;

    fn try_from(text: String) -> Result<Dollars, String> {
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(whole) && whole.len() <= 9 && part.len() <= 6 && (digits(part) || !text.contains('.'));
        let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
        match fits {
            true => Ok(Dollars(number(whole)? * MICRO + number(&format!("{part:0<6}"))?)),
            false => Err(format!("{text:?} is no price: dollars, with at most six decimals")),
        }
    }
}

impl From<Dollars> for String {
    fn from(Dollars(micro): Dollars) -> String {
        format!("{}.{:06}", micro / MICRO, micro % MICRO)
    }
}

impl Prices {
    /// Reads a table.
    ///
    /// # Errors
    /// Where it is none; why, with its place.
    pub fn parse(text: &str) -> Result<Prices, toml::de::Error> {
        toml::from_str(text)
    }

    /// The table that is shipped.
    ///
    /// # Errors
    /// Where it is none; a test proves that it is one.
    pub fn shipped() -> Result<Prices, toml::de::Error> {
        Prices::parse(SHIPPED)
    }

    /// What so many tokens of a model cost, rounded up to a millionth of a dollar; `None` where its price is not known.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<Cost> {
        let price = self.model.iter().find(|price| price.names.iter().any(|name| matches(name, model)))?;
        let read = usage.input.saturating_add(usage.cached).saturating_add(usage.cache_written);
        let long = price.long.as_ref().filter(|long| read > long.over);
        let (input, cached, cache_write, output) = match long {
            Some(long) => (long.input, long.cached, long.cache_write, long.output),
            None => (price.input, price.cached, price.cache_write, price.output),
        };
        let parts = [
            (usage.input, input),
            (usage.cached, cached.unwrap_or(input)),
            (usage.cache_written, cache_write.unwrap_or(input)),
            (usage.output, output),
            (usage.reasoning, output),
        ];
        let sum: u128 = parts.iter().map(|(tokens, Dollars(micro))| u128::from(*tokens) * u128::from(*micro)).sum();
        let micro_usd = u64::try_from(sum.div_ceil(u128::from(MICRO))).unwrap_or(u64::MAX);
        Some(Cost { micro_usd, prices: self.day.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_reads_and_is_dated() {
        let prices = Prices::shipped().unwrap();
        assert_eq!(prices.day.len(), 10);
        assert!(
            prices.model.iter().all(|price| price.source.as_deref().is_some_and(|url| url.starts_with("https://")))
        );
        let again: Prices = serde_json::from_str(&serde_json::to_string(&prices).unwrap()).unwrap();
        assert_eq!(again, prices);
        let usage = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
        assert_eq!(prices.cost("claude-sonnet-4-5-20250929", &usage).unwrap().micro_usd, 18_000_000);
        assert_eq!(prices.cost("us.anthropic.claude-opus-4-20250514-v1:0", &usage).unwrap().micro_usd, 90_000_000);
        assert_eq!(prices.cost("llama3.2:3b", &usage), None, "unknown, not free");
    }

    #[test]
    fn costs_are_exact_and_rounded_up() {
        let table = "day = \"2026-01-01\"\n[[model]]\nnames = [\"a-*\", \"b\"]\ninput = \"3\"\ncached = \"0.3\"\noutput = \"15.000001\"\n\
                     long = { over = 100, input = \"6\", output = \"30\" }\n[[model]]\nnames = [\"*\"]\ninput = \"0\"\noutput = \"0\"\n";
        let prices = Prices::parse(table).unwrap();
        let cost = |model: &str, usage: Usage| prices.cost(model, &usage).unwrap().micro_usd;
        let one =
            |input, cached, cache_written, output, reasoning| Usage { input, cached, cache_written, output, reasoning };
        assert_eq!(cost("a-1", one(1, 0, 0, 0, 0)), 3);
        assert_eq!(cost("b", one(0, 1, 0, 0, 0)), 1, "0.3 millionths");
        assert_eq!(cost("a-1", one(0, 0, 1, 0, 0)), 3, "as input");
        assert_eq!(cost("a-1", one(0, 0, 0, 1, 1)), 31);
        assert_eq!(cost("a-1", one(98, 1, 1, 1, 0)), 313);
        assert_eq!(cost("a-1", one(99, 1, 1, 1, 0)), 6 * 101 + 30, "a long one, all of it");
        assert_eq!(cost("a-1", one(u64::MAX, 0, 0, u64::MAX, 0)), u64::MAX);
        assert_eq!(cost("c", one(5, 5, 5, 5, 5)), 0, "free, because the table says so");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for bad in ["-1", "1.0000001", "x", "", ".5", "1.", "1e3", "9999999999", "+1"] {
            assert!(Dollars::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Prices::parse("day = \"x\"\n[[model]]\nnames = [\"a\"]\ninput = 3.0\noutput = \"1\"").is_err());
        assert!(Prices::parse("day = \"x\"\nmodels = []").is_err());
    }
}
