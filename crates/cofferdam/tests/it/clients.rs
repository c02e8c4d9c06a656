//! Clients that people and agents use, unmodified: each works by a rule, and without one fails at once with the rule to write.

use std::time::{Duration, Instant};

use crate::support::scene::finish;
use crate::support::{Scene, Server, has};

/// Generous for a machine that runs all tests at once: a client that waits for an answer would take its own timeout.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A client that prints what the server says, or the server's refusal.
fn works_by_rule_and_is_told_without(program: &str, words: &[&str]) {
    if has(program) {
        works_in(&Scene::new(), program, words);
    }
}

fn works_in(scene: &Scene, program: &str, words: &[&str]) {
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

/// A client of a few lines, which `java` compiles itself.
const JAVA: &str = "import java.net.URI; import java.net.http.*;
public class Client { public static void main(String[] words) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(words[0])).POST(HttpRequest.BodyPublishers.ofString(\"ping\")).build();
    var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    System.out.println(answer.body() + \" \" + answer.statusCode()); } }
";

/// Without TLS it asks for HTTP/2 by `Upgrade: h2c`, which the server does not take up.
#[test]
fn java() {
    let scene = Scene::new();
    if has("javac") {
        std::fs::write(scene.project.join("Client.java"), JAVA).unwrap();
        works_in(&scene, "java", &["Client.java", "URL"]);
    }
}

#[test]
fn java_trusts_the_gateway_and_what_is_inside_cannot_change_whom_it_trusts() {
    let scene = Scene::new();
    if !has("javac") {
        return;
    }
    std::fs::write(scene.project.join("Client.java"), JAVA).unwrap();
    let told = scene.allowed(&["other.example"], &["java", "Client.java", "https://tls.example/x"]);
    assert!(told.out().contains("coffer run --allow tls.example --purpose"), "{}", told.all());
    assert!(told.out().trim().ends_with(" 403"), "{}", told.all());
    // keytool checks the digest over all that is in it, and prints none of the numbers in the language of the machine.
    let list = ["keytool", "-J-Duser.language=en", "-list", "-cacerts", "-storepass", "changeit"];
    let got = scene.allowed(&["other.example"], &list);
    assert!(got.code() == Some(0) && got.out().contains("cofferdam-"), "{}", got.all());
    let outside = finish(
        {
            let mut command = scene.program(list[0]);
            command.args(&list[1..]);
            command
        },
        b"",
    );
    let entries = |said: &str| said.matches("trustedCertEntry").count();
    assert_eq!(entries(&got.out()), entries(&outside.out()) + 1, "the host's own, and one");
    let script = "f=$(readlink -f $(dirname $(dirname $(readlink -f $(command -v java))))/lib/security/cacerts); \
                  cksum <$f; chmod u+w $f; echo x >$f; mv $f $f.old; rm -f $f; cksum <$f";
    let got = scene.allowed(&["other.example"], &["sh", "-c", script]);
    let sums: Vec<String> = got.out().lines().map(str::to_owned).collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{}", got.all());
}

#[test]
fn a_java_store_that_is_broken_or_no_file_at_all_gives_way_to_the_systems_certificates() {
    let scene = Scene::new();
    if !has("keytool") {
        return;
    }
    let machine = scene.home.join(".sdkman/candidates/java/21");
    let store = machine.join("lib/security/cacerts");
    std::fs::create_dir_all(store.parent().unwrap()).unwrap();
    let run = |words: &[&str]| {
        let mut command = scene.coffer();
        command.env("JAVA_HOME", &machine).arg("run").args(words);
        finish(command, b"")
    };
    let lies = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0xff, 0xff];
    for broken in [Some(&b"0\x82\x01\x00 a PKCS #12"[..]), Some(&lies[..]), None] {
        let _ = std::fs::remove_file(&store);
        match broken {
            Some(bytes) => std::fs::write(&store, bytes).unwrap(),
            None => rustix::fs::mknodat(
                rustix::fs::CWD,
                &store,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap(),
        }
        let plan = run(&["--dry-run", "--", "true"]).out();
        assert!(plan.contains("not those of ~/.sdkman/candidates/java/21/lib/security/cacerts"), "{plan}");
        let list = ["keytool", "-J-Duser.language=en", "-list", "-storepass", "changeit", "-keystore"];
        let got = run(&[&["--"], &list[..], &[store.to_str().unwrap()]].concat());
        assert!(got.code() == Some(0) && got.out().contains("cofferdam-"), "{}", got.all());
    }
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

/// git shows a refusal as the words of the remote.
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
    let advice = format!("remote: A person outside can allow it: coffer run --allow {} --purpose", server.place());
    assert!(got.all().contains(&advice), "{}", got.all());
    assert!(server.heard().is_empty());
}
