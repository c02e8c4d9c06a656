//! What a decision costs with ten thousand rules, by the index and by a scan of all rules in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: it prints, and a failure is the end of it"
)]

use std::hint::black_box;
use std::time::Instant;

use cofferdam_core::Timestamp;
use cofferdam_policy::host::Host;
use cofferdam_policy::{Layer, LayerKind, NormalPath, Policy, Request, Scheme, Source, parse};

const RULES: usize = 10_000;

/// Rules of all kinds: of every ten, two with a star, two with methods and paths.
fn rules() -> String {
    let mut text = String::from("version = 1\n");
    for n in 0..RULES {
        let more = match n % 10 {
            3 | 7 => "methods = [\"GET\"]\npaths = [\"/repos/acme/app/**\"]\n",
            5 => "expires = 2027-01-31\n",
            _ => "",
        };
        let star = if n % 10 == 1 || n % 10 == 2 { "*." } else { "" };
        text.push_str(&format!("[[network.allow]]\nhost = \"{star}h{n}.example.com\"\n{more}purpose = \"p\"\n"));
    }
    text
}

/// The same decision by asking every rule whether it is about the host.
fn scan(policy: &Policy, request: &Request<'_>) -> bool {
    let host = Host::parse(request.host).unwrap();
    policy.rules().iter().any(|rule| {
        rule.host.matches(&host)
            && rule.port.is_none_or(|port| port == request.port)
            && rule.methods.as_ref().is_none_or(|all| request.method.is_some_and(|m| all.iter().any(|own| own == m)))
            && rule.paths.as_ref().is_none_or(|all| {
                request.path.is_some_and(|path| {
                    NormalPath::of(path).is_ok_and(|path| all.iter().any(|pattern| pattern.matches(&path)))
                })
            })
            && !rule.is_expired(request.now)
    })
}

/// Nanoseconds per call, the best of five rounds.
fn timed(rounds: u32, mut work: impl FnMut()) -> f64 {
    let round = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        for _ in 0..rounds {
            work();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(rounds)
    };
    (0..5).map(|_| round(&mut work)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let source = Source::new("policy.toml", rules());
    let begun = Instant::now();
    let parsed = parse(&source, LayerKind::Person);
    assert!(parsed.diagnostics.is_empty());
    let read = begun.elapsed();
    let begun = Instant::now();
    let policy = Policy::new([Layer { rules: parsed.rules }]);
    println!("{RULES} rules ({} kB): read in {read:.1?}, indexed in {:.1?}", source.text.len() / 1000, begun.elapsed());
    let now = Timestamp(1_795_608_000_000_000_000);
    let asked = |host, method, path| Request { scheme: Scheme::Https, host, port: 443, method, path, now };
    let first = asked("h13.example.com", Some("GET"), Some("/repos/acme/app/x"));
    let begun = Instant::now();
    assert!(policy.decide(&first).allowed);
    println!("the first decision by a pattern, which compiles it: {:.1?}", begun.elapsed());
    println!("{:<44} {:>12} {:>14}", "decision", "index", "scan");
    let deep = format!("{}h9991.example.com", "a.".repeat(100));
    let long = format!("/repos/acme/app/{}?q=1", "segment/".repeat(100));
    for (what, request, allowed) in [
        ("name, allowed", asked("h9000.example.com", Some("GET"), Some("/")), true),
        ("name in upper case, allowed", asked("H9000.Example.COM.", Some("GET"), Some("/")), true),
        ("star, allowed", asked("a.h9001.example.com", Some("GET"), Some("/")), true),
        ("star, 103 labels, allowed", asked(deep.as_str(), Some("GET"), Some("/")), true),
        ("method and path, allowed", asked("h9003.example.com", Some("GET"), Some("/repos/acme/app/issues/1")), true),
        ("path of 800 bytes, allowed", asked("h9003.example.com", Some("GET"), Some(long.as_str())), true),
        ("path, denied", asked("h9003.example.com", Some("GET"), Some("/repos/acme/other")), false),
        ("path, ambiguous", asked("h9003.example.com", Some("GET"), Some("/repos/acme/%2e%2e")), false),
        ("no rule", asked("telemetry.example.org", Some("POST"), Some("/")), false),
    ] {
        assert_eq!(policy.decide(&request).allowed, allowed, "{what}");
        assert_eq!(scan(&policy, &request), allowed, "{what}");
        let index = timed(20_000, || {
            black_box(policy.decide(black_box(&request)));
        });
        let linear = timed(40, || {
            black_box(scan(&policy, black_box(&request)));
        });
        println!("{what:<44} {index:>9.0} ns {linear:>11.0} ns");
    }
    let may = timed(20_000, || {
        black_box(policy.may_any(black_box("a.h9001.example.com"), now));
    });
    println!("{:<44} {may:>9.0} ns", "may a name be looked up");
    // The index is by host: where all rules are about one, all are asked.
    let one: String = (0..1000)
        .map(|n| format!("[[network.allow]]\nhost = \"one.example\"\npaths = [\"/p{n}/**\"]\npurpose = \"p\"\n"))
        .collect();
    let parsed = parse(&Source::new("one.toml", format!("version = 1\n{one}")), LayerKind::Person);
    let policy = Policy::new([Layer { rules: parsed.rules }]);
    let request = asked("one.example", Some("GET"), Some("/p999/x"));
    assert!(policy.decide(&request).allowed);
    let last = timed(50, || {
        black_box(policy.decide(black_box(&request)));
    });
    println!("{:<44} {last:>9.0} ns", "the last of 1000 rules with paths for one host");
}
