//! `[models]`: what it says, what of it is wrong, and how layers narrow each other.

use cofferdam_policy::models::money::Micro;
use cofferdam_policy::{Against, Class, LayerKind, ModelPolicy, Parsed, Per, Source, parse};

fn read(text: &str, layer: LayerKind) -> Parsed {
    parse(&Source::new("/p/policy.toml", format!("version = 1\n[models]\n{text}")), layer)
}

fn person(text: &str) -> Parsed {
    let parsed = read(text, LayerKind::Person);
    assert_eq!(parsed.diagnostics, [], "{text}");
    parsed
}

fn classes(text: &str, layer: LayerKind) -> Vec<Class> {
    read(text, layer).diagnostics.iter().map(|d| d.class).collect()
}

#[test]
fn all_of_it_is_read_with_its_lines() {
    let parsed = person(
        "allow = [\"claude-*\", \"gpt-5\"]\ndeny = [\"*-preview\"]\nproviders = [\"anthropic\"]\n\
         tools = { deny = [\"mcp__mail__*\"] }\nnever-send = [\"secrets/**\", \".env*\"]\n\
         budget = [{ usd = 5.10 }, { tokens = 2_000_000, requests = 500, per = \"day\", unpriced = \"allow\" }]\n\
         [models.route]\n\"claude-opus-*\" = \"claude-sonnet-*\"\n\"*\" = \"claude-haiku-4-5\"\n",
    );
    let rules = &parsed.models;
    let allowed = rules.allow.as_ref().unwrap();
    assert_eq!((allowed.id.line, allowed.value.len()), (3, 2));
    let [first, second] = &rules.budgets[..] else { panic!("{rules:?}") };
    assert_eq!((first.usd, first.per, first.id.line), (Some(Micro(5_100_000)), Per::Run, 8));
    assert_eq!((second.tokens, second.requests, second.per), (Some(2_000_000), Some(500), Per::Day));
    assert!(second.unpriced && !second.here && !first.unpriced);
    assert_eq!(rules.never_send.as_ref().unwrap().value, ["secrets/**", ".env*"]);
    let policy = ModelPolicy(vec![rules.clone()]);
    let routed = |model| policy.routed(model).map(|(to, id)| (to, id.line));
    assert_eq!(routed("claude-opus-4-5"), Some(("claude-sonnet-4-5".to_owned(), 10)), "the first that fits");
    assert_eq!(routed("x"), Some(("claude-haiku-4-5".to_owned(), 11)));
    assert!(policy.offers("Bash") && !policy.offers("mcp__mail__send"));
    let again: ModelPolicy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
    assert_eq!(again, policy);
}

#[test]
fn what_is_wrong_is_found() {
    for (text, class) in [
        ("alow = [\"x\"]", Class::UnknownKey),
        ("allow = \"x\"", Class::WrongType),
        ("allow = [\"\"]", Class::Model),
        ("allow = [\"a b\"]", Class::Model),
        ("allow = [\"claude-[ab]\"]", Class::Model),
        ("route = { \"a-*\" = \"b-*-*\" }", Class::Model),
        ("route = { \"a-*-*\" = \"b\" }", Class::Model),
        ("route = { \"a\" = \"b*\" }", Class::Model),
        ("route = { \"a\" = 1 }", Class::WrongType),
        ("tools = { allow = [\"a\"], deny = [\"b\"] }", Class::Contradiction),
        ("tools = { only = [\"a\"] }", Class::UnknownKey),
        ("never-send = [\"!x\"]", Class::Path),
        ("never-send = [\"../x\"]", Class::Path),
        ("never-send = [\"a[\"]", Class::Path),
        ("budget = {}", Class::Missing),
        ("budget = { per = \"day\" }", Class::Missing),
        ("budget = { usd = 5, per = \"year\" }", Class::UnknownValue),
        ("budget = { usd = -5 }", Class::Amount),
        ("budget = { usd = 0.0000001 }", Class::Amount),
        ("budget = { usd = inf }", Class::Amount),
        ("budget = { usd = 1e3 }", Class::Amount),
        ("budget = { usd = \"5\" }", Class::WrongType),
        ("budget = { tokens = 1.5 }", Class::WrongType),
        ("budget = { requests = -1 }", Class::Amount),
        ("budget = { usd = 5, unpriced = \"maybe\" }", Class::UnknownValue),
        ("budget = 5", Class::WrongType),
        ("budget = [5]", Class::WrongType),
    ] {
        assert_eq!(classes(text, LayerKind::Person), [class], "{text}");
    }
}

#[test]
fn a_project_narrows_and_does_nothing_else() {
    assert_eq!(classes("route = { \"a\" = \"b\" }", LayerKind::Project), [Class::Layer]);
    assert_eq!(classes("budget = { usd = 1, unpriced = \"allow\" }", LayerKind::Project), [Class::Layer]);
    let project = read(
        "allow = [\"*\"]\ntools = { allow = [\"*\"] }\nbudget = { usd = 1000, per = \"day\" }",
        LayerKind::Project,
    );
    assert_eq!(project.diagnostics, []);
    let person = person(
        "allow = [\"claude-*\"]\nproviders = [\"anthropic\"]\ntools = { allow = [\"Bash\"] }\nbudget = { usd = 1 }",
    );
    let policy = ModelPolicy(vec![person.models, project.models]);
    assert_eq!(policy.admit("anthropic", "Claude-opus-4"), Ok(()));
    assert!(matches!(policy.admit("anthropic", "gpt-5"), Err(Against::NotAllowed(said)) if said.id.line == 3));
    assert!(matches!(policy.admit("openrouter.ai", "claude-opus-4"), Err(Against::Provider(_))));
    assert!(policy.offers("Bash") && !policy.offers("Edit"));
    let budgets: Vec<String> = policy.budgets().map(ToString::to_string).collect();
    assert_eq!(budgets, ["1.00 USD per run", "1000.00 USD per day in this project"], "both count");
}
