//! Names that change their mind, through `coffer run` in a network of the test's own: what is connected to is what was
//! checked; and a name that no rule allows is not asked for.

use crate::support::world::{METADATA, OUTSIDE, World};
use crate::support::{Finished, Scene};

const TABLE: &str = "\
turns.example 203.0.113.7 127.0.0.1
loop.example 127.0.0.1
own.example 203.0.113.1
six.example ::1
mapped.example ::ffff:127.0.0.1
meta.example 169.254.169.254
both.example 203.0.113.7,127.0.0.1
plain.example 203.0.113.7
";

/// A request by the attack program, as a command of the shell.
fn ask(name: &str) -> String {
    format!(
        "./hostile talk {name}:8080 'GET /from-{name} HTTP/1.1\\r\\nHost: {name}:8080\\r\\nConnection: close\\r\\n\\r\\n'"
    )
}

/// A shell script in an enclosure in the world, with the person's policy.
fn run(scene: &Scene, world: &World, script: &str) -> Finished {
    let coffer = env!("CARGO_BIN_EXE_coffer");
    world.finished(scene, &[coffer, "run", "--quiet", "--", "sh", "-c", script])
}

/// A rule for names below `example`, with more of its keys.
fn policy(scene: &Scene, names: &[&str], more: &str) {
    let rule = |name: &&str| format!("[[network.allow]]\nhost = \"{name}:8080\"\n{more}purpose = \"a test\"\n");
    scene.policy(&format!("version = 1\n{}", names.iter().map(rule).collect::<String>()));
}

#[test]
fn a_name_that_turns_to_this_machine_is_refused_by_the_address_that_is_used() {
    let scene = Scene::new();
    let Some(world) = World::new(&scene, TABLE) else { return };
    let all = [
        "turns.example",
        "loop.example",
        "own.example",
        "six.example",
        "mapped.example",
        "meta.example",
        "both.example",
    ];
    policy(&scene, &all, "");
    // First public, then, once the gateway asks again (after 30 seconds), loopback.
    let script = format!("{0}; {1}; sleep 31; {0}; true", ask("turns.example"), ask("both.example"));
    let got = run(&scene, &world, &script);
    let said = got.out();
    assert_eq!(said.matches(&format!("this is {OUTSIDE}:8080")).count(), 2, "{}", got.all());
    assert!(said.contains("HTTP/1.1 403"), "{}", got.all());
    assert!(
        world.noted("names").iter().filter(|asked| *asked == "turns.example 1").count() >= 2,
        "{:?}",
        world.noted("names")
    );
    let denied = scene.events("net.denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(
        (&denied[0]["data"]["host"], &denied[0]["data"]["reason"]),
        (&"turns.example".into(), &"forbidden-address".into())
    );
    // The control: the server that it would have come to is there, and a rule that names its address reaches it.
    assert!(world.noted("host").is_empty(), "{:?}", world.noted("host"));
    policy(&scene, &all, "addresses = [\"127.0.0.0/8\", \"203.0.113.1\", \"::1\", \"169.254.169.254\"]\n");
    let others = ["loop.example", "own.example", "six.example", "mapped.example", "meta.example"];
    let script = others.map(ask).join("; ");
    let got = run(&scene, &world, &script);
    assert_eq!(got.out().matches("HTTP/1.1 200").count(), others.len(), "{}", got.all());
    assert_eq!((world.noted("host").len(), world.noted("outside").len()), (4, 1), "{}", got.all());
    assert!(got.out().contains(&format!("this is {METADATA}:8080")), "{}", got.all());
    policy(&scene, &all, "");
    let got = run(&scene, &world, &format!("{script}; true"));
    assert_eq!(got.out().matches("HTTP/1.1 403").count(), others.len(), "{}", got.all());
    assert!(scene.events("net.denied").iter().all(|denied| denied["data"]["reason"] == "forbidden-address"));
    assert_eq!((world.noted("host"), world.noted("outside")), (vec![], vec![]), "{}", got.all());
}

#[test]
fn a_name_that_no_rule_allows_is_not_asked_for_outside() {
    let scene = Scene::new();
    let Some(world) = World::new(&scene, TABLE) else { return };
    policy(&scene, &["plain.example", "missing.example"], "");
    let names = ["s3cret-data.tunnel.example", "plain.example.tunnel.example", "loop.example", "xplain.example"];
    let queries = names.map(|name| format!("{name}?")).join(" ");
    let requests = names.map(ask).join("; ");
    // Below what a rule allows, too: a rule without a wildcard is of one name.
    let script = format!(
        "./hostile dns {queries} s3cret.plain.example?; {requests}; {}; {}",
        ask("missing.example"),
        ask("plain.example")
    );
    let got = run(&scene, &world, &script);
    assert_eq!(got.out().matches("HTTP/1.1 403").count(), names.len(), "{}", got.all());
    assert_eq!(got.out().matches("HTTP/1.1 502").count(), 1, "{}", got.all());
    assert!(got.out().contains(&format!("this is {OUTSIDE}:8080")), "{}", got.all());
    // Each once, in each family; and neither below the names that the host's resolver is told to search.
    let mut asked = world.noted("names");
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["missing.example 1", "missing.example 28", "plain.example 1", "plain.example 28"]);
    // The control: outside, the same question comes to the same server.
    world.finished(&scene, &["getent", "ahosts", names[0]]);
    assert!(world.noted("names").iter().any(|asked| asked.starts_with(names[0])), "{:?}", world.noted("names"));
}
