//! The judge by policy and ledger.

use std::cell::RefCell;
use std::rc::Rc;

use cofferdam_core::event::{Cost, RuleRef, Usage};
use cofferdam_exchange::{Refusal, Target, Waiting};
use cofferdam_policy::models::{Against, ModelPolicy, Said};
use cofferdam_policy::rule::RuleId;
use http::request;

use super::ask::{Answer, Exhausted, Used};
use super::bound::{Bound, Bounds};
use super::never_send::NeverSend;
use super::unread;
use crate::judge::{Judge, Permit, Ruling};
use crate::{Asked, Prices};

/// Counts what is used, in another process.
pub trait Counter {
    /// Whether a request that uses at most this may leave.
    fn reserve(&self, most: Used) -> Waiting<'static, Result<Answer, String>>;

    /// What a request used that was let out; `None` where that is not known.
    fn settle(&self, number: u64, used: Option<Used>);
}

/// Judges by policy.
pub struct Rules {
    policy: ModelPolicy,
    prices: Prices,
    never: NeverSend,
    counter: Rc<dyn Counter>,
    bounds: Rc<RefCell<Bounds>>,
}

impl Rules {
    /// By this policy and these prices; content of `never` does not leave.
    pub fn new(policy: ModelPolicy, prices: Prices, never: NeverSend, counter: Rc<dyn Counter>) -> Rules {
        Rules { policy, prices, never, counter, bounds: Rc::default() }
    }

    /// What a request can use at most of what budgets bound.
    fn most(&self, bound: &Bound, model: &str) -> Result<Used, Refusal> {
        let Bound { read, written: output, .. } = *bound;
        let ways = [
            Usage { input: read, output, ..Usage::default() },
            Usage { cached: read, output, ..Usage::default() },
            Usage { cache_written: read, output, ..Usage::default() },
        ];
        let cost = ways.iter().filter_map(|usage| self.prices.cost(model, usage)).map(|cost| cost.micro_usd).max();
        let strict = self.policy.budgets().find(|budget| budget.usd.is_some() && !budget.unpriced);
        match (cost, strict) {
            (None, Some(budget)) => Err(Refusal {
                reason: "budget".to_owned(),
                detail: format!("a budget of money holds ({budget}), and what {model} costs is not known"),
                rule: Some(RuleRef::from(&budget.id)),
                allow: Some(format!(
                    "give its price in ~/.config/cofferdam/prices.toml, or say unpriced = \"allow\" with the budget{}",
                    place(&budget.id)
                )),
            }),
            (cost, _) => Ok(Used { micro_usd: cost.unwrap_or(0), tokens: read.saturating_add(output), requests: 1 }),
        }
    }

    async fn permit(&self, asked: &Asked, model: &str) -> Result<Option<Box<dyn Permit>>, Refusal> {
        if self.policy.budgets().next().is_none() {
            return Ok(None);
        }
        let bound = self.bounds.borrow().of(asked, model);
        let most = self.most(&bound, model)?;
        match self.counter.reserve(most).await {
            Ok(Answer::Reserved(number)) => {
                let (counter, bounds) = (Rc::clone(&self.counter), Rc::clone(&self.bounds));
                Ok(Some(Box::new(Held { counter, bounds, number, most, bound: Some(bound), settled: false })))
            }
            Ok(Answer::Exhausted(exhausted)) => Err(over(&exhausted)),
            Ok(Answer::Settled) => Err(Refusal::new("budget", "the ledger of budgets answered another question")),
            Err(why) => Err(Refusal::new("budget", format!("what is left of the budget is not known: {why}"))),
        }
    }
}

impl Judge for Rules {
    fn judge<'a>(&'a self, _: &'a Target, asked: &'a Asked) -> Waiting<'a, Result<Ruling, Refusal>> {
        Box::pin(async move {
            let routed = self.policy.routed(&asked.model).map(|(model, _)| model);
            let model = routed.as_deref().unwrap_or(&asked.model);
            self.policy.admit(&asked.provider, model).map_err(|against| no_model(&against, &asked.provider, model))?;
            self.never.look(&asked.body)?;
            let without = asked.tools.iter().filter(|tool| !self.policy.offers(tool)).cloned().collect();
            // Last: a request that is refused for something else uses nothing.
            let permit = self.permit(asked, model).await?;
            Ok(Ruling { model: routed, without, permit })
        })
    }

    fn unread(&self, target: &Target, head: &request::Parts) -> Result<(), Refusal> {
        match self.policy.budgets().next() {
            Some(budget) => unread::passes(&target.host, head)
                .map_err(|refusal| Refusal { rule: Some(RuleRef::from(&budget.id)), ..refusal }),
            None => Ok(()),
        }
    }
}

/// What a request was promised.
struct Held {
    counter: Rc<dyn Counter>,
    bounds: Rc<RefCell<Bounds>>,
    number: u64,
    most: Used,
    bound: Option<Bound>,
    settled: bool,
}

impl Permit for Held {
    fn settle(mut self: Box<Self>, used: Option<(&Usage, Option<&Cost>)>) {
        let used = match used {
            None => Used::default(),
            Some((usage, cost)) => {
                if let Some(bound) = self.bound.take() {
                    self.bounds.borrow_mut().learn(bound, usage);
                }
                let micro_usd = cost.map_or(self.most.micro_usd, |cost| cost.micro_usd);
                Used { micro_usd, tokens: usage.total(), requests: 1 }
            }
        };
        self.settled = true;
        self.counter.settle(self.number, Some(used));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.counter.settle(self.number, None);
        }
    }
}

fn no_model(against: &Against<'_>, provider: &str, model: &str) -> Refusal {
    let listed = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let refusal = |reason: &str, detail: String, said: &Said<Vec<String>>, how: String| Refusal {
        reason: reason.to_owned(),
        detail,
        rule: Some(RuleRef::from(&said.id)),
        allow: Some(format!("{how}{}", place(&said.id))),
    };
    match against {
        Against::NotAllowed(said) => refusal(
            "model",
            format!("{model} is none of the models that policy allows: {}", listed(&said.value)),
            said,
            format!("add {model:?} to `allow` of [models]"),
        ),
        Against::Denied(said, pattern) => refusal(
            "model",
            format!("policy denies {model}: {pattern}"),
            said,
            format!("take {pattern:?} out of `deny` of [models]"),
        ),
        Against::Provider(said) => refusal(
            "provider",
            format!("{provider} is none of the providers that policy allows: {}", listed(&said.value)),
            said,
            format!("add {provider:?} to `providers` of [models]"),
        ),
    }
}

fn over(exhausted: &Exhausted) -> Refusal {
    let Exhausted { budget, what, used, reserved, asked, behind } = exhausted;
    let mut detail = format!("the budget of {budget} does not reach: {} of it is used", what.words(*used));
    if *reserved > 0 {
        detail.push_str(&format!(", {} of that held by requests that have not ended", what.words(*reserved)));
    }
    detail.push_str(&format!("; this one could use {}", what.words(*asked)));
    if *behind > 0 {
        detail.push_str(&format!(" (the clock is {behind} days behind the last day that was counted)"));
    }
    Refusal {
        reason: "budget".to_owned(),
        detail,
        rule: Some(RuleRef::from(&budget.id)),
        allow: Some(format!("coffer budget shows what is used; raise the budget{}", place(&budget.id))),
    }
}

/// Where a rule stands, for the person.
pub(super) fn place(id: &RuleId) -> String {
    match &id.file {
        Some(file) => format!(" in {}:{}", file.display(), id.line),
        None => " on the command line".to_owned(),
    }
}
