//! `coffer policy`: what it says, and that nobody but the person can make a project's policy count.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::Repo;
use crate::support::scene::finish;

const PERSON: &str = r#"version = 1

[[network.allow]]
host = "api.github.com"
methods = ["GET"]
paths = ["/repos/acme/app/**", "/user"]
purpose = "read issues of this repository"
expires = 2099-01-31
name = "issues"

[[network.allow]]
host = "db.example:5432"
purpose = "test data"
expires = 2001-01-31
"#;

const PROJECT: &str = "version = 1\n[[network.allow]]\nhost = \"*.crates.io\"\npurpose = \"crates\"\n";

/// A repository with the person's policy.
fn repo() -> Repo {
    let repo = Repo::new();
    repo.scene.policy(PERSON);
    repo
}

/// What a command wrote on standard output.
fn out(repo: &Repo, code: i32, words: &[&str]) -> String {
    let got = repo.coffer(words);
    assert_eq!(got.code(), Some(code), "{words:?}: {}", got.all());
    got.out()
}

fn allows(repo: &Repo, target: &str) -> bool {
    let code = repo.coffer(&["policy", "explain", target]).code();
    assert!(matches!(code, Some(0 | 1)), "{target}: {code:?}");
    code == Some(0)
}

#[test]
fn rules_are_shown_with_where_they_stand() {
    let repo = repo();
    let shown = out(&repo, 0, &["policy", "show"]);
    let wanted = "person  ~/.config/cofferdam/policy.toml
  AT                    HOST            PORT     ALLOWS                  ENDS              PURPOSE
  policy.toml:3 issues  api.github.com  443, 80  GET /repos/acme/app/**  2099-01-31        read issues of this repository
                                                   or /user
  policy.toml:11        db.example      5432     anything over TCP       ended 2001-01-31  test data

";
    assert_eq!(shown, wanted);
    let facts = repo.json(0, &["policy", "show", "--json"]);
    let rule = &facts["rules"][0];
    assert_eq!(
        (&rule["id"]["layer"], &rule["id"]["line"], &rule["id"]["name"]),
        (&"person".into(), &3.into(), &"issues".into())
    );
    assert_eq!(rule["id"]["file"], repo.scene.home.join(".config/cofferdam/policy.toml").to_str().unwrap());
    assert_eq!((&rule["expired"], &facts["rules"][1]["expired"]), (&false.into(), &true.into()));
    fs::remove_file(repo.scene.home.join(".config/cofferdam/policy.toml")).unwrap();
    assert_eq!(out(&repo, 0, &["policy", "show"]), "no rules: nothing may leave\n\n");
}

#[test]
fn the_person_file_is_where_xdg_says() {
    let repo = repo();
    let config = repo.scene.outside.join("config");
    fs::create_dir_all(config.join("cofferdam")).unwrap();
    fs::write(config.join("cofferdam/policy.toml"), PROJECT).unwrap();
    let mut command = repo.scene.coffer();
    command.env("XDG_CONFIG_HOME", &config).args(["policy", "show"]);
    let got = finish(command, b"");
    assert!(got.out().contains("*.crates.io") && !got.out().contains("api.github.com"), "{}", got.all());
}

#[test]
fn decisions_are_explained_with_a_rule_to_paste() {
    let repo = repo();
    let said = out(&repo, 0, &["policy", "explain", "https://api.github.com/repos/acme/app/issues?page=2"]);
    assert!(said.starts_with("allowed  GET https://api.github.com/repos/acme/app/issues?page=2\n"), "{said}");
    assert!(said.contains("rule     ~/.config/cofferdam/policy.toml:3 `issues` (person layer)\n"), "{said}");
    let said = out(&repo, 1, &["policy", "explain", "https://api.github.com/repos/acme/other", "--method", "post"]);
    let wanted = "denied  POST https://api.github.com/repos/acme/other: no rule for this host allows this method
  near     ~/.config/cofferdam/policy.toml:3 `issues` (person layer)
             it allows GET, not POST
             its paths /repos/acme/app/**, /user do not match /repos/acme/other

This rule in ~/.config/cofferdam/policy.toml would allow it, once it says what it is for:

[[network.allow]]
host = \"api.github.com\"
scheme = \"https\"
methods = [\"POST\"]
paths = [\"/repos/acme/other\"]
purpose = \"\"

";
    assert_eq!(said, wanted);
    let facts = repo.json(1, &["policy", "explain", "db.example:5432", "--json"]);
    assert_eq!(
        (&facts["allowed"], &facts["reason"], &facts["rule"]["id"]["line"]),
        (&false.into(), &"expired".into(), &11.into())
    );
    // Pasted and filled in, it is what was missing; as it is, it is refused.
    let file = repo.scene.home.join(".config/cofferdam/policy.toml");
    let proposal = facts["proposal"].as_str().unwrap();
    fs::write(&file, format!("{PERSON}\n{proposal}")).unwrap();
    assert!(out(&repo, 1, &["policy", "check"]).contains("error[empty]: `purpose` is empty"));
    fs::write(&file, format!("{PERSON}\n{}", proposal.replace("\"\"", "\"p\""))).unwrap();
    assert!(allows(&repo, "db.example:5432"));
    for (target, reason) in [
        ("https://api.github.com/repos/acme/app/%2e%2e/x", "ambiguous"),
        ("http://0x7f.1/", "invalid-host"),
        ("api.github.com", "method-unknown"),
        ("api.github.com:22", "port"),
    ] {
        assert_eq!(repo.json(1, &["policy", "explain", target, "--json"])["reason"], reason, "{target}");
    }
    for (target, why) in
        [("ftp://a.example/", "`ftp`"), ("https://a@b.example/", "user's name"), ("a.example:99999", "no port")]
    {
        assert!(repo.expect(125, &["policy", "explain", target]).contains(why), "{target}");
    }
}

#[test]
fn check_finds_all_errors_of_all_layers() {
    let repo = repo();
    assert!(out(&repo, 0, &["policy", "check"]).contains("2 rules, 1 of them ended, nothing is wrong"));
    repo.write(
        ".cofferdam/policy.toml",
        "version = 1\n[[network.allow]]\nhost = \"a.example\"\nprupose = \"x\"\n[limits]\n",
    );
    let said = out(&repo, 1, &["policy", "check"]);
    let file = repo.path(".cofferdam/policy.toml");
    for piece in ["did you mean `purpose`?", "unknown key `limits`", "policy.toml: 2 errors\n"] {
        assert!(said.contains(piece), "{piece}: {said}");
    }
    assert!(said.contains(&format!(" --> {}:4:1\n", file.display())), "{said}");
    assert_eq!(out(&repo, 1, &["policy", "check", ".cofferdam/policy.toml"]).matches("error[").count(), 2);
    let facts = repo.json(1, &["policy", "check", "--json"]);
    let (own, project) = (&facts[0], &facts[1]);
    assert_eq!((&own["rules"], own["errors"].as_array().unwrap().len()), (&2.into(), 0), "{facts}");
    let error = &project["errors"][0];
    assert_eq!(
        (&error["class"], &error["line"], &error["column"]),
        (&"unknown-key".into(), &4.into(), &1.into()),
        "{facts}"
    );
    repo.expect(125, &["policy", "check", "nowhere.toml"]);
    // At home there is no project, and one's own file can be checked all the same.
    let got = repo.coffer_in(&repo.scene.home, &["policy", "check", ".config/cofferdam/policy.toml"]);
    assert_eq!(got.code(), Some(0), "{}", got.all());
    assert!(repo.coffer_in(&repo.scene.home, &["policy", "check"]).all().contains("coffer policy check FILE"));
    // Errors in a file that counts for nothing are nobody's business but check's; in one's own file they stop.
    assert!(allows(&repo, "https://api.github.com/user"));
    repo.scene.policy("version = 2");
    for words in [&["policy", "show"][..], &["policy", "explain", "a.example"]] {
        assert!(repo.expect(125, words).contains("has 1 error, so that nothing can be decided by it"));
    }
}

#[test]
fn trust_shows_asks_and_remembers_the_content() {
    let repo = repo();
    assert!(repo.expect(125, &["policy", "trust"]).contains("to trust"));
    repo.write(".cofferdam/policy.toml", PROJECT);
    let said = repo.expect(0, &["policy", "show"]);
    assert!(said.contains("counts for nothing: you have not trusted it") && !said.contains("crates.io"), "{said}");
    // Nobody there to answer.
    let said = repo.expect(1, &["policy", "trust"]);
    assert!(said.contains("*.crates.io") && said.contains("--yes"), "{said}");
    for (answer, trusted) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let mut session = repo.on_terminal(&["policy", "trust"]);
        session.expect("trust .cofferdam/policy.toml with 1 rule? [y/N]");
        assert!(session.screen().contains("*.crates.io"), "{}", session.screen());
        session.type_in(answer);
        assert_eq!(session.wait().code(), Some(i32::from(!trusted)), "{}", session.screen());
        assert_eq!(allows(&repo, "static.crates.io"), trusted, "{answer:?}");
    }
    assert!(repo.expect(0, &["policy", "trust"]).contains("trusted already"));
    repo.write(".cofferdam/policy.toml", &PROJECT.replace("crates.io", "evil.example"));
    assert!(repo.expect(0, &["policy", "show"]).contains("it changed since you trusted it"));
    assert!(!allows(&repo, "static.crates.io") && !allows(&repo, "x.evil.example"));
    let facts = repo.json(0, &["policy", "trust", "--yes", "--json"]);
    assert_eq!((&facts["trusted"], facts["digest"].as_str().unwrap().len()), (&true.into(), 64));
    assert!(allows(&repo, "x.evil.example"));
    repo.write(".cofferdam/policy.toml", "version = 1\n[[network.allow]]\nhost = \"a.example\"\n");
    assert!(repo.expect(1, &["policy", "trust", "--yes"]).contains("has 1 error and is not trusted"));
    // Another clone of the project is another project.
    let clone = repo.scene.home.join("src/clone");
    fs::create_dir_all(clone.join(".git")).unwrap();
    fs::create_dir_all(clone.join(".cofferdam")).unwrap();
    fs::write(clone.join(".cofferdam/policy.toml"), PROJECT.replace("crates.io", "evil.example")).unwrap();
    let got = repo.coffer_in(&clone, &["policy", "explain", "x.evil.example"]);
    assert_eq!(got.code(), Some(1), "{}", got.all());
}

/// An agent rewrites the project's policy, trusts it inside, and has its changes promoted: it counts for nothing until the
/// person trusts it.
#[test]
fn an_agent_cannot_make_its_own_policy_count() {
    let repo = repo();
    repo.write(".cofferdam/policy.toml", PROJECT);
    repo.commit();
    repo.expect(0, &["policy", "trust", "--yes"]);
    assert!(allows(&repo, "static.crates.io") && !allows(&repo, "exfiltrate.evil.example"));
    // The attack is real where nobody keeps it from the state directory: outside, trusting needs no more than this.
    fs::copy(env!("CARGO_BIN_EXE_coffer"), repo.path("tool")).unwrap();
    let script = "sed -i s/crates.io/evil.example/ .cofferdam/policy.toml && ./tool policy trust --yes && ./tool policy explain exfiltrate.evil.example";
    let state = repo.scene.state.join("cofferdam/trust");
    let before = fs::read_dir(&state).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect::<Vec<_>>();
    let inside = repo.scene.script(script);
    // Inside it believes itself: what it wrote is in its own home layer.
    assert_eq!(inside.code(), Some(0), "{}", inside.all());
    assert!(allows(&repo, "static.crates.io"), "before promotion nothing changed");
    let said = repo.expect(0, &["promote", "--yes", ".cofferdam/policy.toml"]);
    assert!(repo.read(".cofferdam/policy.toml").contains("evil.example"), "{said}");
    let after = fs::read_dir(&state).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect::<Vec<_>>();
    assert_eq!(before, after);
    assert!(!allows(&repo, "exfiltrate.evil.example") && !allows(&repo, "static.crates.io"));
    assert!(repo.expect(0, &["policy", "show"]).contains("it changed since you trusted it"));
    // The same words outside make it count: the case can succeed.
    let mut command = repo.scene.program("sh");
    command.args(["-c", "./tool policy trust --yes"]);
    assert_eq!(finish(command, b"").code(), Some(0));
    assert!(allows(&repo, "exfiltrate.evil.example"));
}

#[test]
fn a_policy_that_is_no_file_neither_blocks_nor_leads_out_of_the_project() {
    let repo = repo();
    let file = repo.path(".cofferdam/policy.toml");
    fs::create_dir(repo.path(".cofferdam")).unwrap();
    let refused = |why: &str| {
        let begun = Instant::now();
        let shown = repo.expect(0, &["policy", "show"]);
        assert!(shown.contains("counts for nothing") && shown.contains(why), "{shown}");
        assert!(shown.contains("api.github.com"), "the person's layer counts all the same: {shown}");
        for words in [&["policy", "check"][..], &["policy", "trust", "--yes"]] {
            let got = repo.coffer(words);
            assert!(matches!(got.code(), Some(1 | 125)) && got.all().contains(why), "{words:?}: {}", got.all());
            assert!(!got.all().contains(&repo.scene.canary), "{}", got.all());
        }
        assert!(begun.elapsed().as_secs() < 20, "{why}: {:?}", begun.elapsed());
        fs::remove_file(&file).unwrap();
    };
    mknodat(CWD, &file, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    refused("is no regular file");
    // Its first line would be shown with a caret.
    symlink(repo.scene.home.join(".netrc"), &file).unwrap();
    refused("is a symbolic link");
    symlink("/dev/zero", &file).unwrap();
    refused("is a symbolic link");
    fs::File::create(&file).unwrap().set_len(1 << 32).unwrap();
    refused("larger than 1 MiB");
    fs::write(&file, b"\xff").unwrap();
    refused("not UTF-8");
    fs::remove_dir(repo.path(".cofferdam")).unwrap();
    let elsewhere = repo.scene.outside.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("policy.toml"), PROJECT).unwrap();
    symlink(&elsewhere, repo.path(".cofferdam")).unwrap();
    assert!(repo.expect(0, &["policy", "show"]).contains("is a symbolic link, or lies behind one"));
}

#[test]
fn nothing_of_a_file_acts_on_the_terminal() {
    let repo = repo();
    let hidden = "\u{202e}\u{200b}\u{9b}31m";
    let rule = format!("[[network.allow]]\nhost = \"a.example\"\npurpose = \"\\u001b[2J{hidden}\"\n");
    repo.write(".cofferdam/policy.toml", &format!("version = 1\n{rule}"));
    let harmless = |said: &str| {
        assert!(!said.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{9b}']), "{said:?}");
    };
    harmless(&repo.expect(0, &["policy", "trust", "--yes"]));
    harmless(&repo.expect(0, &["policy", "show"]));
    harmless(&repo.expect(0, &["policy", "show", "--json"]));
    harmless(&repo.expect(0, &["policy", "explain", "https://a.example/"]));
    harmless(&repo.expect(0, &["policy", "explain", "--json", "https://a.example/"]));
    repo.write(
        ".cofferdam/policy.toml",
        &format!("version = 1\n{rule}\"k\\u001b{hidden}\" = 1\n# {hidden}\ntls = \"{hidden}\"\n"),
    );
    let said = repo.expect(1, &["policy", "check"]);
    assert!(said.contains("\\u{1b}\\u{202e}"), "{said}");
    harmless(&said);
    for target in [&format!("https://a.example/{hidden}"), &format!("{hidden}.example"), &format!("a.example:{hidden}")]
    {
        let got = repo.coffer(&["policy", "explain", target]);
        assert!(matches!(got.code(), Some(1 | 125)), "{}", got.all());
        harmless(&got.all());
    }
}
