//! Sign-ins: requests carry the person's token, who is signed in outside stays so, and nothing inside has a token.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::authority::{Authority, Issued};
use crate::evidence::{evidence_of_latest, showing};
use crate::support::pty::Session;
use crate::support::{Scene, Server, eventually, is_root, processes};

/// What the agent does: asks the model so many times with what it finds in its file; where that is refused it refreshes, and asks
/// again.
const AGENT: &str = r#"#!/bin/sh
field() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" ~/.fake/auth.json; }
ask() { curl -sS -m 30 -o answer -w '%{http_code}' -H "X-Run: $WHO" -H "Authorization: Bearer $(field access)" "$BASE/v1/messages"; }
n=0 ok=0
while [ "$n" -lt "$1" ]; do
    n=$((n + 1))
    code=$(ask)
    if [ "$code" = 401 ]; then
        curl -sS -m 60 -d "grant_type=refresh_token&refresh_token=$(field refresh)" "$BASE/oauth/token" >granted
        code=$(ask)
    fi
    [ "$code" = 200 ] && ok=$((ok + 1))
    cat answer
    grep -q enough answer && break
    sleep "${2:-0}"
done
echo "answered $ok of $n"
"#;

/// A person who is signed in, with an agent that is.
struct Person {
    scene: Scene,
    authority: &'static Authority,
    server: Server,
    seen: &'static Seen,
}

/// Which runs came with which access tokens, and were let in.
type Seen = Mutex<BTreeSet<(String, String)>>;

/// The run that a request comes from.
fn who(head: &str) -> String {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-run: ").map(str::to_owned));
    line.unwrap_or_default()
}

impl Person {
    /// Whose access tokens live so long.
    fn new(lifetime: u64) -> Person {
        let authority: &'static Authority = Box::leak(Box::new(Authority::new(Duration::from_secs(lifetime))));
        let seen: &'static Seen = Box::leak(Box::default());
        let server = Server::answering(move |head, body| {
            let path = head.split_whitespace().nth(1).unwrap_or_default();
            if path == "/oauth/token" {
                // Slow, as servers are.
                std::thread::sleep(Duration::from_millis(fastrand::u64(5..30)));
                let (status, answer) = authority.answer(&String::from_utf8_lossy(body));
                return (format!("{status} Said"), answer.into_bytes());
            }
            let sent = token_of(head).unwrap_or_default();
            match authority.lets_in(&sent) {
                true => {
                    let mut seen = seen.lock().unwrap();
                    seen.insert((who(head), sent.clone()));
                    let enough = seen.iter().filter(|(by, _)| *by == who(head)).count() > 10;
                    let words = if enough { "enough of you" } else { "you are" };
                    (format!("200 OK\r\nX-Mirror: {sent}"), format!("{words} {sent}\n").into_bytes())
                }
                false => ("401 Unauthorized".to_owned(), b"who are you\n".to_vec()),
            }
        });
        let person = Person { scene: Scene::new(), authority, server, seen };
        let (scene, port) = (&person.scene, person.server.port);
        let place = person.server.place();
        scene.policy(&format!(
            "version = 1\n[[network.allow]]\nhost = \"{place}\"\nrecord = \"full\"\npurpose = \"a test\"\n"
        ));
        let own = scene.home.join(".config/cofferdam/sign-ins");
        std::fs::create_dir_all(&own).unwrap();
        let known = format!(
            "name = \"fake\"\nagents = [\"fake-agent\"]\nfile = \".fake/auth.json\"\naccess = \"/tokens/access\"\n\
             refresh = \"/tokens/refresh\"\nid = \"/tokens/id\"\nexpires = \"/tokens/expires\"\nkeep = [\"/plan\"]\n\
             token-url = \"http://127.0.0.1:{port}/oauth/token\"\nform = \"form\"\nclient-id = \"fake-client\"\n\
             uses = [{{ host = \"{place}\", paths = [\"/v1/**\"] }}]\n"
        );
        std::fs::write(own.join("fake.toml"), known).unwrap();
        let agent = scene.project.join("fake-agent");
        std::fs::write(&agent, AGENT).unwrap();
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(scene.home.join(".fake")).unwrap();
        person.sign_in();
        person
    }

    fn file(&self) -> PathBuf {
        self.scene.home.join(".fake/auth.json")
    }

    fn sign_in(&self) {
        let Issued { access, refresh, id } = self.authority.sign_in();
        // Its end is not known here: it is about to come.
        let tokens = json!({"access": access, "refresh": refresh, "id": id, "expires": 1});
        let file = json!({"tokens": tokens, "plan": "pro", "email": "me@example.com", "unknown": {"kept": [1.5]}});
        std::fs::write(self.file(), serde_json::to_vec_pretty(&file).unwrap()).unwrap();
        std::fs::set_permissions(self.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The file outside, which reads at any time.
    fn outside(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).expect("the person's file reads")
    }

    fn is_signed_in(&self) -> bool {
        let file = self.outside();
        assert_eq!((&file["email"], &file["unknown"]), (&json!("me@example.com"), &json!({"kept": [1.5]})));
        self.authority.is_live(file["tokens"]["refresh"].as_str().unwrap())
    }

    /// `coffer run` of the agent with these arguments.
    fn command(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = self.scene.coffer();
        command.args(self.words(who)).args(arguments);
        command
    }

    fn words(&self, who: &str) -> Vec<String> {
        let (base, who) = (format!("BASE=http://{}", self.server.place()), format!("WHO={who}"));
        ["run", "-q", "--env", &base, "--env", &who, "--", "./fake-agent"].map(str::to_owned).to_vec()
    }

    /// What the agent does instead, in its place.
    fn instead(&self, script: &str) -> String {
        std::fs::write(self.scene.project.join("fake-agent"), format!("#!/bin/sh\n{}\n{script}\n", FIELD)).unwrap();
        let got = crate::support::scene::finish(self.command("other", &[]), b"");
        got.all()
    }

    /// Searches every file below a directory that this user can read; how many there are.
    fn search(&self, directory: &Path) -> usize {
        let mut searched = 0;
        // Placeholders of hidden places, and the kernel's scratch directories, are closed to their owner too.
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap();
            if kind.is_dir() {
                searched += self.search(&path);
            } else if let (true, Ok(text)) = (kind.is_file(), std::fs::read(&path)) {
                self.none_in(&path.display().to_string(), &text);
                searched += 1;
            }
        }
        searched
    }

    /// No token that was ever issued is to be seen in any of these texts.
    fn none_in(&self, what: &str, text: &[u8]) {
        for token in self.authority.issued() {
            assert!(memchr::memmem::find(text, token.as_bytes()).is_none(), "{what} holds {token}");
        }
    }
}

const FIELD: &str = r#"field() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" ~/.fake/auth.json; }"#;

fn token_of(head: &str) -> Option<String> {
    head.lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer ").or(line.strip_prefix("Authorization: Bearer ")))
        .map(str::to_owned)
}

/// All that can be read of a process's memory; `None` where it cannot be.
fn memory(pid: i32) -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" r")) {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut piece = vec![0; usize::try_from(to - from).unwrap()];
        // Some pages (vvar) are readable to the process alone.
        if memory.seek(SeekFrom::Start(from)).and_then(|_| memory.read_exact(&mut piece)).is_ok() {
            all.extend(piece);
        }
    }
    Some(all)
}

fn below(pid: i32, into: &mut Vec<i32>) {
    for child in processes::children(pid) {
        into.push(child);
        below(child, into);
    }
}

#[test]
fn a_run_uses_the_sign_in_and_has_no_token() {
    let person = Person::new(3600);
    let mut command = person.scene.program(crate::support::scene::hostile());
    command.args(["on-terminal", env!("CARGO_BIN_EXE_coffer")]).args(person.words("one")).arg("3");
    let mut session = Session::of(command);
    session.expect("answered 3 of 3");
    assert_eq!(session.wait().code(), Some(0), "{}", session.screen());
    person.none_in("the terminal", session.screen().as_bytes());
    assert!(session.screen().contains("you are ****"), "{}", session.screen());
    assert!(person.is_signed_in());
    assert_eq!(person.authority.refreshes(), 1, "once for three requests");
    let mode = std::fs::metadata(person.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let fetched = person.scene.events("credential.fetched");
    assert_eq!((&fetched[0]["data"]["source"], &fetched[0]["data"]["refreshed"]), (&json!("sign-in"), &json!(true)));
    assert_eq!(person.scene.events("credential.used").len(), 3);
    let evidence = evidence_of_latest(&person.scene);
    for token in person.authority.issued() {
        let nowhere = Vec::<PathBuf>::new();
        assert_eq!(showing(&evidence, &token), nowhere, "log, bodies, terminal");
        assert_eq!(showing(evidence.parent().unwrap(), &token), nowhere, "layers, plan");
    }
    // What stands inside has the shape, and nothing of the person's that is not named.
    let inside = person
        .instead("cat ~/.fake/auth.json; env; cat /run/coffer/README; /run/coffer/bin/coffer why $BASE/v1/messages");
    for word in [
        "coffer-placeholder-fake-access-",
        "coffer-placeholder-fake-refresh-",
        "\"plan\": \"pro\"",
        "You are signed in (fake)",
    ] {
        assert!(inside.contains(word), "{word}: {inside}");
    }
    assert!(inside.contains("~/.fake/auth.json holds its placeholder"), "{inside}");
    assert!(!inside.contains("me@example.com"), "{inside}");
    person.none_in("what the agent sees", inside.as_bytes());
}

#[test]
fn two_runs_at_once_go_through_ten_refreshes_each() {
    let person = Person::new(2);
    let said = |who: &str| person.scene.outside.join(format!("{who}.out"));
    let start = |who: &str| -> Child {
        let mut command = person.command(who, &["1000", "0.2"]);
        // A pipe that nobody reads meanwhile would hold it up.
        let all = File::create(said(who)).unwrap();
        let errors = all.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::from(all)).stderr(Stdio::from(errors)).spawn().unwrap()
    };
    let mut runs = [start("first"), start("second")];
    let tokens = |who: &str| -> BTreeSet<String> {
        person.seen.lock().unwrap().iter().filter(|(by, _)| by == who).map(|(_, token)| token.clone()).collect()
    };
    // While they run, what is inside is searched.
    let mut searched = 0;
    let done = |runs: &mut [Child; 2]| runs.iter_mut().all(|run| run.try_wait().unwrap().is_some());
    assert!(eventually(240, || {
        for run in &runs {
            let chain = processes::chain(run.id().cast_signed());
            let (mut inside, Some(init)) = (Vec::new(), chain.get(2)) else { continue };
            below(*init, &mut inside);
            for pid in inside {
                // It may have ended meanwhile, or be somebody else's.
                let Some(memory) = memory(pid) else { continue };
                person.none_in(&format!("the memory of {pid}"), &memory);
                let around = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                person.none_in(&format!("the environment of {pid}"), &around);
                searched += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(400));
        done(&mut runs)
    }));
    let root = is_root();
    assert!(searched > 20 || !root, "{searched} processes were searched");
    for who in ["first", "second"] {
        let out = std::fs::read(said(who)).unwrap();
        person.none_in("the output", &out);
        let out = String::from_utf8_lossy(&out).into_owned();
        assert!(out.contains("enough of you") && out.contains("answered "), "{out}");
        assert!(tokens(who).len() > 10, "{who} saw {} tokens", tokens(who).len());
    }
    assert!(person.is_signed_in());
    // Each refresh token was used once: two that refresh on their own sign each other out.
    let issued = person.authority.issued().len() / 3;
    assert_eq!(person.authority.refreshes(), issued - 1, "and one of them came from signing in");
    // Evidence of both; layers, homes, and what is remembered of sign-ins, which holds digests.
    let store = person.scene.state.join("cofferdam");
    for run in std::fs::read_dir(store.join("runs")).unwrap() {
        let evidence = run.unwrap().path().join("evidence");
        for token in person.authority.issued() {
            assert_eq!(showing(&evidence, &token), Vec::<PathBuf>::new());
        }
    }
    assert!(person.search(&store) > 20);
}

/// A broker as the monitor starts it, with what it is to do.
fn broker(person: &Person) -> (Child, OwnedFd) {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut command = person.scene.program(env!("CARGO_BIN_EXE_coffer"));
    let child = command.arg0("coffer-broker").stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
    let own = std::fs::read_to_string(person.scene.home.join(".config/cofferdam/sign-ins/fake.toml")).unwrap();
    let sign_in: Value = toml::from_str(&own).unwrap();
    let order = json!({ "Keep": {
        "sign_in": sign_in,
        "file": person.file(),
        "lock": null,
        "store": person.scene.state.join("cofferdam/sign-ins"),
        "roots": [],
        "proxy": [],
        "wanted": {},
    }});
    send(ours.as_fd(), order.to_string().as_bytes(), SendFlags::empty()).unwrap();
    (child, ours)
}

/// The person's token has ended.
fn end_token(person: &Person) {
    let mut file = person.outside();
    file["tokens"]["expires"] = 1.into();
    let new = person.file().with_extension("new");
    std::fs::write(&new, file.to_string()).unwrap();
    std::fs::rename(&new, person.file()).unwrap();
}

fn kept(person: &Person) -> crate::support::Finished {
    person.scene.finished(&["credential", "test", "fake", "--json"])
}

#[test]
fn a_broker_that_is_killed_at_any_instant_signs_nobody_out() {
    let person = Person::new(3600);
    assert_eq!(kept(&person).code(), Some(0), "{}", kept(&person).all());
    let before = person.authority.refreshes();
    for round in 0..50 {
        end_token(&person);
        let (mut child, _channel) = broker(&person);
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        processes::signal(child.id().cast_signed(), Signal::KILL);
        child.wait().unwrap();
        person.outside();
        // Whoever comes next waits for what is under way, and goes on from there.
        let next = kept(&person);
        assert_eq!(next.code(), Some(0), "round {round}: {}", next.all());
        assert!(person.is_signed_in(), "round {round}");
    }
    let asked = person.authority.refreshes() - before;
    assert!((50..=100).contains(&asked), "{asked}");
}

/// What nobody can keep is what a server gave to a process that died before it had read it: all else is kept.
#[test]
fn a_keeper_that_is_killed_leaves_a_file_that_reads() {
    let person = Person::new(3600);
    let mut lost = 0;
    for round in 0..30 {
        end_token(&person);
        let before = person.authority.refreshes();
        let (mut child, _channel) = broker(&person);
        let pid = child.id().cast_signed();
        let mut keeper = None;
        eventually(2, || {
            keeper = processes::children(pid).first().copied();
            keeper.is_some() || child.try_wait().unwrap().is_some()
        });
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..50_000)));
        keeper.into_iter().for_each(|keeper| processes::signal(keeper, Signal::KILL));
        child.wait().unwrap();
        person.outside();
        let next = kept(&person);
        if next.code() == Some(0) {
            assert!(person.is_signed_in(), "round {round}");
            continue;
        }
        assert!(person.authority.refreshes() > before, "round {round}: it had not even asked: {}", next.all());
        assert!(next.out().contains("sign in again outside"), "{}", next.all());
        lost += 1;
        person.sign_in();
    }
    assert!(lost < 30, "all were lost");
}

#[test]
fn what_an_agent_does_inside_changes_nothing_outside() {
    let person = Person::new(3600);
    assert_eq!(kept(&person).code(), Some(0));
    let (before, refreshes) = (person.outside(), person.authority.refreshes());
    let token = |body: &str| format!("curl -sS -m 20 -w ' %{{http_code}}\\n' -d \"{body}\" $BASE/oauth/token");
    for (script, said) in [
        ("echo '{\"tokens\": {\"access\": \"mine\"}}' >~/.fake/auth.json; cat ~/.fake/auth.json".to_owned(), "mine"),
        // Whatever is posted there is answered here, with placeholders.
        (token("grant_type=authorization_code&code=stolen&code_verifier=x"), "coffer-placeholder-fake-access-"),
        (
            token("grant_type=refresh_token&refresh_token=$(field refresh)&x=$(field access)"),
            "coffer-placeholder-fake-refresh-",
        ),
        (token("{\\\"refresh_token\\\": \\\"another\\\"}"), "\"expires_in\":"),
        (token("grant_type=refresh_token").replace("/oauth/token", "//oauth/./%74oken/"), "\"expires_in\":"),
        // By another path it carries a placeholder, which does not leave.
        ("curl -sS -m 20 -w '%{http_code}' -d \"refresh_token=$(field refresh)\" $BASE/oauth/token2".to_owned(), "403"),
        ("curl -sS -m 20 -w '%{http_code}' -d \"refresh_token=$(field refresh)\" $BASE/v1/messages".to_owned(), "403"),
        (
            "curl -sS -m 20 -w '%{http_code}' -G -d \"refresh_token=$(field refresh)\" $BASE/oauth/token".to_owned(),
            "403",
        ),
        (
            "curl -sS -m 20 -w '%{http_code}' -H \"Authorization: Bearer $(field access)\" $BASE/keys/new".to_owned(),
            "403",
        ),
        ("curl -sS -m 20 -w '%{http_code}' -d \"$(field id)\" $BASE/v1/messages".to_owned(), "403"),
        ("curl -sS -m 20 -o /dev/null http://127.0.0.1:${BASE##*:}/oauth/token || echo refused".to_owned(), "refused"),
        ("rm -rf ~/.fake; ln -s / ~/.fake; ls ~/.fake/".to_owned(), "run"),
        // The next run finds no way to where it should stand, and follows none.
        ("ls -la ~/.fake/".to_owned(), "etc"),
    ] {
        let got = person.instead(&script);
        assert!(got.contains(said), "{script}: {got}");
        person.none_in(&script, got.as_bytes());
    }
    assert_eq!((person.outside(), person.authority.refreshes()), (before, refreshes));
    let heard = person.server.heard().concat();
    assert!(!heard.contains("placeholder") && !heard.contains("stolen") && !heard.contains("another"), "{heard}");
}

#[test]
fn nobody_inside_makes_the_person_refresh_again_and_again() {
    let person = Person::new(3600);
    let flood = "for n in $(seq 60); do curl -sS -m 30 -d grant_type=refresh_token $BASE/oauth/token -o /dev/null & done; wait; \
                 for n in $(seq 20); do curl -sS -m 30 -o /dev/null -H \"Authorization: Bearer $(field access)\" $BASE/v1/messages; done";
    person.instead(flood);
    assert_eq!(person.authority.refreshes(), 1);
    // A server that lets nobody in is no reason to refresh again.
    person.authority.forget_access();
    let got = person.instead(flood);
    assert!(person.authority.refreshes() <= 2, "{}: {got}", person.authority.refreshes());
    assert!(person.is_signed_in());
}

#[test]
fn who_is_not_signed_in_outside_does_not_sign_in_inside() {
    let person = Person::new(3600);
    std::fs::remove_file(person.file()).unwrap();
    let got = person.instead("ls ~/.fake; curl -sS -d 'grant_type=authorization_code&code=x' $BASE/oauth/token");
    assert!(got.contains("nobody is signed in to fake outside"), "{got}");
    assert!(person.server.heard().is_empty());
    assert_eq!(person.scene.events("net.denied")[0]["data"]["reason"], "sign-in");
    let list = person.scene.finished(&["credential", "list"]);
    assert!(!list.out().contains("fake"), "{}", list.all());
    assert_eq!(person.scene.finished(&["credential", "test", "fake"]).code(), Some(1));
    person.sign_in();
    let list = person.scene.finished(&["credential", "list"]);
    assert!(list.out().contains("fake  sign-in") && list.out().contains("~/.fake/auth.json"), "{}", list.all());
    let test = person.scene.finished(&["credential", "test", "fake"]);
    assert!(test.out().starts_with("fake works, refreshed, good until 20"), "{}", test.all());
    person.none_in("what is shown", [list.all(), test.all()].concat().as_bytes());
    // The server has ended it.
    person.authority.revoke();
    end_token(&person);
    let test = person.scene.finished(&["credential", "test", "fake"]);
    assert!(test.code() == Some(1) && test.all().contains("sign in again outside"), "{}", test.all());
    let got = person.instead("curl -sS -H \"Authorization: Bearer $(field access)\" $BASE/v1/messages");
    assert!(got.contains("sign in again outside"), "{got}");
    // A file that leads elsewhere, or is none, stays and is said.
    let other = person.scene.outside.join("auth.json");
    std::fs::rename(person.file(), &other).unwrap();
    std::os::unix::fs::symlink(&other, person.file()).unwrap();
    let got = person.instead("curl -sS -d grant_type=refresh_token $BASE/oauth/token");
    assert!(got.contains("nobody is signed in to fake outside"), "{got}");
    let list = person.scene.finished(&["credential", "list"]);
    assert!(list.all().contains("leads out of the home"), "{}", list.all());
    assert!(Path::new(&other).exists());
}
