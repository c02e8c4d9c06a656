//! The documentation: its example is a policy without errors, and it explains every class of error.

use cofferdam_policy::{Class, LayerKind, Source, parse};

const PAGE: &str = include_str!("../../../../docs/policy.md");

#[test]
fn the_example_is_a_policy() {
    let text = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let parsed = parse(&Source::new("policy.toml", text), LayerKind::Person);
    assert_eq!((parsed.diagnostics.len(), parsed.rules.len()), (0, 1), "{:?}", parsed.diagnostics);
}

#[test]
fn the_credential_of_the_documentation_is_one() {
    let page = include_str!("../../../../docs/credentials.md");
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let parsed = parse(&Source::new("policy.toml", format!("version = 1\n{text}")), LayerKind::Person);
    assert_eq!((parsed.diagnostics.len(), parsed.credentials.len()), (0, 1), "{:?}", parsed.diagnostics);
}

#[test]
fn every_class_of_error_is_explained_with_an_example() {
    for class in Class::ALL {
        let name = class.as_str();
        let (_, after) =
            PAGE.split_once(&format!("\n**`{name}`**: ")).unwrap_or_else(|| panic!("{name} is not explained"));
        let example = after.split("```\n").nth(1).unwrap();
        assert!(example.starts_with(&format!("error[{name}]: ")), "{name}: {example}");
    }
}
