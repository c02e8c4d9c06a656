//! What a person reads, in full.

use cofferdam_policy::{LayerKind, Source, Style, parse, render};

/// As the commands do it: what acts on a terminal or hides is written out.
fn safe(text: &[u8]) -> String {
    let hidden = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}');
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.into() })
        .collect()
}

fn shown(text: &str) -> String {
    let source = Source::new("policy.toml", text);
    render(&source, &parse(&source, LayerKind::Person).diagnostics, Style { colour: false, safe })
}
const MANY: &str = r#"version = 1

[[network.allow]]
host = "bücher.example"
prupose = "read the shop's prices"
methods = ["get", "POST"]
	ports = 443

[[network.allow]]
host = "api.github.com"
purpose = ""
expires = "2027-01-31"
name = "api"

[[network.allow]]
host = "*.com"
tls = "passthru"
purpose = "everything"
name = "api"

[[network.allow]]
host = "late.example"

[limits]
memory = "8GiB"
"#;

const SHOWN: &str = r#"error[host]: `host` names no host that a rule can be about
 --> policy.toml:4:8
  |
4 | host = "bücher.example"
  |        ^^^^^^^^^^^^^^^^ the name is not ASCII; its ASCII form is `xn--bcher-kva.example`

error[unknown-key]: unknown key `prupose` in a rule
 --> policy.toml:5:1
  |
5 | prupose = "read the shop's prices"
  | ^^^^^^^ did you mean `purpose`?

error[unknown-value]: `methods` cannot be `get`
 --> policy.toml:6:12
  |
6 | methods = ["get", "POST"]
  |            ^^^^^ did you mean `GET`?

error[unknown-key]: unknown key `ports` in a rule
 --> policy.toml:7:2
  |
7 |     ports = 443
  |     ^^^^^ did you mean `port`?

error[empty]: `purpose` is empty
  --> policy.toml:11:11
   |
11 | purpose = ""
   |           ^^ nothing is said here

error[wrong-type]: `expires` is a date
  --> policy.toml:12:11
   |
12 | expires = "2027-01-31"
   |           ^^^^^^^^^^^^ this is text
   |
   = help: write it without quotes: `expires = 2027-01-31`

error[host]: `host` names no host that a rule can be about
  --> policy.toml:16:8
   |
16 | host = "*.com"
   |        ^^^^^^^ `*.com` would allow a whole top-level domain: name at least two labels after the `*`

error[unknown-value]: `tls` cannot be `passthru`
  --> policy.toml:17:7
   |
17 | tls = "passthru"
   |       ^^^^^^^^^^ did you mean `passthrough`?

error[name]: two rules are named `api`
  --> policy.toml:19:8
   |
19 | name = "api"
   |        ^^^^^ the second
   |
  ::: policy.toml:13:8
   |
13 | name = "api"
   |        ----- the first

error[missing]: the rule has no `purpose`
  --> policy.toml:21:1
   |
21 | [[network.allow]]
   | ^^^^^^^^^^^^^^^^^ `purpose` is missing in this rule
   |
   = help: say in a few words what it is for

error[unknown-key]: unknown key `limits` in a policy file
  --> policy.toml:24:2
   |
24 | [limits]
   |  ^^^^^^ not known to this version of coffer
   |
   = help: known are `version`, `network`, `packages`, `models`, `credential`, `tripwires`

"#;

#[test]
fn all_errors_of_a_file_in_one_pass_as_rustc_shows_them() {
    assert_eq!(shown(MANY), SHOWN);
}

#[test]
fn what_is_not_toml_is_shown_too_and_harmless() {
    let text = "version = 1\n[[network.allow]]\nhost = \"b\u{fc}cher.example\nx\u{202e}\u{1b}[31m = 1\npurpose 5\n";
    let wanted = "error[syntax]: this is not TOML: invalid basic string, expected `\"`
 --> policy.toml:3:23
  |
3 | host = \"b\u{fc}cher.example
  |                       ^ here

error[syntax]: this is not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`
 --> policy.toml:4:2
  |
4 | x\u{fffd}\u{fffd}[31m = 1
  |  ^^ this

error[syntax]: this is not TOML: key with no value, expected `=`
 --> policy.toml:4:4
  |
4 | x\u{fffd}\u{fffd}[31m = 1
  |    ^ here

error[syntax]: this is not TOML: key with no value, expected `=`
 --> policy.toml:5:9
  |
5 | purpose 5
  |         ^ here

";
    assert_eq!(shown(text), wanted);
}

#[test]
fn the_words_of_a_file_reach_the_terminal_escaped() {
    let text = "version = 1\n\"\\u001b[2J\\u202e\" = 1\n[[network.allow]]\nhost = \"a.example\"\npurpose = \"p\"\n\
                tls = \"\\u001b]0;x\\u0007\"\n";
    for colour in [false, true] {
        let source = Source::new("pol\u{1b}icy.toml", text);
        let parsed = parse(&source, LayerKind::Project);
        assert_eq!(parsed.diagnostics.len(), 2);
        let shown = render(&source, &parsed.diagnostics, Style { colour, safe });
        assert!(
            shown.contains("\\u{1b}[2J\\u{202e}") && !shown.contains('\u{202e}') && !shown.contains('\u{7}'),
            "{shown:?}"
        );
        // Coloured, the only sequences are those of SGR.
        for (at, _) in shown.match_indices('\u{1b}') {
            let end = shown[at..].find(|c: char| c.is_ascii_alphabetic()).unwrap();
            assert!(colour && shown[at..].starts_with("\u{1b}[") && shown.as_bytes()[at + end] == b'm', "{shown:?}");
        }
    }
}

#[test]
fn a_file_full_of_errors_is_shown_in_bounds() {
    let text = format!("version = 1\n{}", "[[network.allow]]\nx = 1\n".repeat(40_000));
    let begun = std::time::Instant::now();
    let shown = shown(&text);
    assert_eq!(shown.matches("error[").count(), cofferdam_policy::diagnostic::MOST_SHOWN);
    assert!(shown.ends_with("… and 119900 more errors\n\n"), "{}", &shown[shown.len() - 80..]);
    let long = format!("version = 1\nx = \"{}\" y\n", "a\u{202e}".repeat(200_000));
    assert!(super::rendered::shown(&long).len() < 10_000);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
