//! Policy: what may leave an enclosure, by which rule, and for which purpose.
//!
//! A policy is layers of rules ([`Layer`]): the person's file, the project's file at a content that the person trusts
//! ([`trust`]), and the command line. [`parse`] reads a file and finds everything that is wrong with it;
//! [`Policy::decide`] answers a request, and what no rule allows is denied. This crate decides and explains; it carries
//! nothing out, prints nothing, and does not read the environment.

pub mod addition;
pub mod credential;
pub mod decide;
pub mod diagnostic;
pub mod explain;
pub mod file;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod layers;
pub mod method;
pub mod models;
pub mod option;
pub mod packages;
pub mod path;
pub mod pattern;
pub mod rule;
pub mod schema;
pub mod source;
pub mod target;
pub mod trust;

mod expiry;
mod index;

pub use credential::{Credential, CredentialSource, Use};
pub use decide::{Decision, Layer, Policy, Reason, Request};
pub use diagnostic::{Class, Diagnostic, Style, render};
pub use explain::{Explanation, explain};
pub use file::FileError;
pub use layers::{Layers, Places, ProjectState};
pub use models::{Against, Budget, ModelPolicy, ModelRules, Per};
pub use packages::Ecosystem;
pub use path::NormalPath;
pub use pattern::PathPattern;
pub use rule::{LayerKind, Rule, RuleId, Scheme};
pub use schema::{Parsed, parse};
pub use source::Source;
pub use target::Target;
pub use trust::TrustStore;
