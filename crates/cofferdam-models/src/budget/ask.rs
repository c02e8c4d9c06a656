//! What is asked of the ledger, and what it answers. Plain data: whoever asks is another process.

use cofferdam_policy::models::Budget;
use cofferdam_policy::models::money::Micro;
use serde::{Deserialize, Serialize};

/// An amount of what budgets bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Money, in millionths of a US dollar.
    pub micro_usd: u64,
    /// Tokens, read and written.
    pub tokens: u64,
    /// Requests.
    pub requests: u64,
}

impl Used {
    /// With another one.
    pub fn add(&mut self, other: &Used) {
        self.micro_usd = self.micro_usd.saturating_add(other.micro_usd);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.requests = self.requests.saturating_add(other.requests);
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// May a request that uses at most this leave? Where it may, all of that counts until it is settled.
    Reserve(Used),
    /// A request that may leave has ended.
    Settle {
        /// Which one: of [`Answer::Reserved`].
        number: u64,
        /// What it used; `None` where that is not known, so that what was reserved counts.
        used: Option<Used>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It may leave.
    Reserved(u64),
    /// It may not.
    Exhausted(Box<Exhausted>),
    /// It is settled.
    Settled,
}

/// A budget that a request does not fit into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// The budget.
    pub budget: Budget,
    /// Which of its bounds.
    pub what: What,
    /// What is used, settled or not.
    pub used: u64,
    /// How much of that is of requests that are not settled.
    pub reserved: u64,
    /// What the request could use.
    pub asked: u64,
    /// Days by which the clock is behind the ledger; 0 where it is not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub behind: u32,
}

/// What a bound is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Money.
    Usd,
    /// Tokens.
    Tokens,
    /// Requests.
    Requests,
}

impl What {
    /// All.
    pub const ALL: [What; 3] = [What::Usd, What::Tokens, What::Requests];

    /// Its word in policy.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Usd => "usd",
            What::Tokens => "tokens",
            What::Requests => "requests",
        }
    }

    /// How much of it is allowed by a budget.
    pub fn limit(self, budget: &Budget) -> Option<u64> {
        match self {
            What::Usd => budget.usd.map(|usd| usd.0),
            What::Tokens => budget.tokens,
            What::Requests => budget.requests,
        }
    }

    /// How much of it an amount has.
    pub fn of(self, used: &Used) -> u64 {
        match self {
            What::Usd => used.micro_usd,
            What::Tokens => used.tokens,
            What::Requests => used.requests,
        }
    }

    /// An amount of it in words.
    pub fn words(self, amount: u64) -> String {
        match self {
            What::Usd => format!("{} USD", Micro(amount)),
            What::Tokens => format!("{amount} tokens"),
            What::Requests if amount == 1 => "1 request".to_owned(),
            What::Requests => format!("{amount} requests"),
        }
    }
}

fn is_zero(days: &u32) -> bool {
    *days == 0
}
