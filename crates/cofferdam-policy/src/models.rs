//! `[models]`: which models may be asked, with which tools, about what, and how much that may cost.

pub mod money;
pub mod name;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rule::RuleId;
use money::Micro;
use name::matches;

/// What one layer says of models. All layers count: a request passes where none of them is against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRules {
    /// The models that may be asked, as patterns of their names; without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Said<Vec<String>>>,
    /// Models that may not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Said<Vec<String>>>,
    /// Whose models may be asked; without it everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Said<Vec<String>>>,
    /// Which model is asked in the place of another, the first that fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    /// The tools that models may be offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Said<Tools>>,
    /// Paths of the project whose content does not go to models, as patterns of a `.gitignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_send: Option<Said<Vec<String>>>,
    /// How much may be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

/// Something of a layer, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said<T> {
    /// Where it stands.
    pub id: RuleId,
    /// What it says.
    pub value: T,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it stands.
    pub id: RuleId,
    /// The models that it takes.
    pub from: String,
    /// Where they go; a `*` is what the pattern's one matched.
    pub to: String,
}

/// Which tools models may be offered, as patterns of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tools {
    /// These alone.
    Allow(Vec<String>),
    /// All but these.
    Deny(Vec<String>),
}

impl Tools {
    /// Whether a tool may be offered.
    pub fn admit(&self, tool: &str) -> bool {
        match self {
            Tools::Allow(names) => names.iter().any(|name| matches(name, tool)),
            Tools::Deny(names) => !names.iter().any(|name| matches(name, tool)),
        }
    }
}

/// How much may be used within a time; what it does not name is not bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Where it stands.
    pub id: RuleId,
    /// Most money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Micro>,
    /// Most tokens, read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Most requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Within which time.
    pub per: Per,
    /// Whether it is only of what is used in this project; a budget of a project's file is.
    pub here: bool,
    /// Whether requests to models without a known price pass a budget of money, and count as no money.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpriced: bool,
}

/// Within which time a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Each run has its own.
    #[default]
    Run,
    /// Each day, UTC.
    Day,
    /// Each month, UTC.
    Month,
    /// All runs of the project, at any time.
    Project,
}

impl Per {
    /// All, with their words.
    pub const ALL: &'static [(&'static str, Per)] =
        &[("run", Per::Run), ("day", Per::Day), ("project", Per::Project), ("month", Per::Month)];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Per::Run => "run",
            Per::Day => "day",
            Per::Month => "month",
            Per::Project => "project",
        }
    }
}

impl fmt::Display for Budget {
    /// `5.00 USD and 500 requests per day`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.usd.map(|usd| format!("{usd} USD"));
        let tokens = self.tokens.map(|tokens| format!("{tokens} tokens"));
        let requests = self.requests.map(|requests| format!("{requests} requests"));
        let all: Vec<String> = [usd, tokens, requests].into_iter().flatten().collect();
        write!(f, "{} per {}", all.join(" and "), self.per.as_str())?;
        if self.here && matches!(self.per, Per::Day | Per::Month) {
            f.write_str(" in this project")?;
        }
        Ok(())
    }
}

/// Why a model is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against<'r> {
    /// None of the patterns that are allowed matches its name.
    NotAllowed(&'r Said<Vec<String>>),
    /// This pattern denies it.
    Denied(&'r Said<Vec<String>>, &'r str),
    /// Its provider is none of those.
    Provider(&'r Said<Vec<String>>),
}

/// What all layers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPolicy(pub Vec<ModelRules>);

impl ModelPolicy {
    /// Whether nothing is said: everything passes, nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|layer| *layer == ModelRules::default())
    }

    /// The model that one becomes by the first route that takes it; the routes of its own result are not asked.
    pub fn routed(&self, model: &str) -> Option<(String, &RuleId)> {
        let routes = self.0.iter().flat_map(|layer| &layer.route);
        let mut found = routes.filter_map(|route| Some((name::routed(&route.from, &route.to, model)?, &route.id)));
        found.next()
    }

    /// What is against a model.
    ///
    /// # Errors
    /// The first layer's word.
    pub fn admit(&self, provider: &str, model: &str) -> Result<(), Against<'_>> {
        for layer in &self.0 {
            if let Some(denied) = &layer.deny
                && let Some(pattern) = denied.value.iter().find(|pattern| matches(pattern, model))
            {
                return Err(Against::Denied(denied, pattern));
            }
            if let Some(allowed) = &layer.allow
                && !allowed.value.iter().any(|pattern| matches(pattern, model))
            {
                return Err(Against::NotAllowed(allowed));
            }
            if let Some(providers) = &layer.providers
                && !providers.value.iter().any(|pattern| matches(pattern, provider))
            {
                return Err(Against::Provider(providers));
            }
        }
        Ok(())
    }

    /// Whether a tool may be offered.
    pub fn offers(&self, tool: &str) -> bool {
        self.0.iter().filter_map(|layer| layer.tools.as_ref()).all(|tools| tools.value.admit(tool))
    }

    /// All budgets; each of them counts.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter().flat_map(|layer| &layer.budgets)
    }

    /// The patterns of paths whose content is not sent, each with its place.
    pub fn never_send(&self) -> impl Iterator<Item = &Said<Vec<String>>> {
        self.0.iter().filter_map(|layer| layer.never_send.as_ref())
    }
}
