//! Clients that people and agents use, unmodified: each works by a rule, and without one fails at once with the rule to write.

use std::time::{Duration, Instant};

use crate::support::{Scene, Server, has};

/// Generous for a machine that runs all tests at once: a client that waits for an answer would take its own timeout.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A client that prints what the server says, or the server's refusal.
fn works_by_rule_and_is_told_without(program: &str, words: &[&str]) {
    let scene = Scene::new();
    if !has(program) {
        return;
    }
    let server = Server::http();
    let url = format!("http://{}/x", server.place());
    let words: Vec<String> = words.iter().map(|word| word.replace("URL", &url)).collect();
    let words: Vec<&str> = std::iter::once(program).chain(words.iter().map(String::as_str)).collect();
    let begun = Instant::now();
    let refused = scene.allowed(&["other.example"], &words);
    let took = begun.elapsed();
    let advice = format!("coffer run --allow {} --purpose", server.place());
    assert!(refused.all().contains(&advice), "{program}: {}", refused.all());
    assert!(refused.all().contains("403"), "{program}: {}", refused.all());
    assert!(took < AT_ONCE, "{program}: {took:?}");
    assert!(server.heard().is_empty(), "{program}: {:?}", server.heard());
    let got = scene.allowed(&[&server.place()], &words);
    assert_eq!((got.code(), got.out().trim()), (Some(0), "hello ping 200"), "{program}: {}", got.all());
    let heard = server.heard();
    assert!(heard.len() == 1 && heard[0].starts_with("POST /x HTTP/1.1\r\n"), "{program}: {heard:?}");
}

#[test]
fn curl() {
    works_by_rule_and_is_told_without("curl", &["-sS", "-d", "ping", "-w", " %{http_code}", "URL"]);
}

#[test]
fn python_urllib() {
    let script = "import sys, urllib.request, urllib.error\n\
                  try: r = urllib.request.urlopen(sys.argv[1], b'ping')\n\
                  except urllib.error.HTTPError as e: r = e\n\
                  print(r.read().decode(), r.status)";
    works_by_rule_and_is_told_without("python3", &["-c", script, "URL"]);
}

#[test]
fn node_fetch() {
    let script = "fetch(process.argv[1], {method: 'POST', body: 'ping'})\
                  .then(async r => console.log(await r.text(), r.status))";
    works_by_rule_and_is_told_without("node", &["-e", script, "URL"]);
}

#[test]
fn a_body_of_five_megabytes_arrives_whole_and_comes_back_whole() {
    let scene = Scene::new();
    if !has("curl") {
        return;
    }
    let body: String = (0..640 * 1024).map(|n| format!("{n:07}\n")).collect();
    std::fs::write(scene.project.join("body"), &body).unwrap();
    let server = Server::http();
    let url = format!("http://{}/", server.place());
    let got = scene.allowed(&[&server.place()], &["curl", "-sS", "--data-binary", "@body", &url]);
    assert_eq!(got.code(), Some(0), "{}", String::from_utf8_lossy(&got.stderr));
    assert!(got.stdout == format!("hello {body}").as_bytes(), "{} bytes came back", got.stdout.len());
    assert!(server.heard()[0].ends_with(&body), "the server heard another body");
}

/// git prints no body of an answer; the summary of the run leads to the rule.
#[test]
fn git_without_a_rule_fails_at_once() {
    let scene = Scene::new();
    if !has("git") {
        return;
    }
    let server = Server::http();
    let url = format!("http://{}/r.git", server.place());
    let begun = Instant::now();
    let got = scene.finished(&["run", "--allow", "other.example", "--purpose", "x", "--", "git", "ls-remote", &url]);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(got.all().contains("403"), "{}", got.all());
    assert!(got.all().contains(&server.place()), "{}", got.all());
    assert!(server.heard().is_empty());
}
