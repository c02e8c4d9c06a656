//! Against a server that rotates refresh tokens and revokes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::fake::{Authority, Issued};
use super::super::known;
use super::*;

/// A person who is signed in, with a home, a store and a server.
struct Scene {
    home: tempfile::TempDir,
    server: Arc<Authority>,
    sign_in: SignIn,
}

/// The server, asked without a socket.
struct Direct<F: Fn(&Authority, &str) -> Option<(u16, String)>>(Arc<Authority>, F);

impl<F: Fn(&Authority, &str) -> Option<(u16, String)>> Post for Direct<F> {
    fn post(&self, _: &TokenUrl, media: &str, body: &[u8]) -> Result<Reply, String> {
        assert_eq!(media, "application/json");
        let text = std::str::from_utf8(body).unwrap();
        let (status, body) = (self.1)(&self.0, text).ok_or("the connection was reset")?;
        Ok(Reply { status, body: Zeroizing::new(body.into_bytes()) })
    }
}

fn answers(server: &Authority, body: &str) -> Option<(u16, String)> {
    Some(server.answer(body))
}

impl Scene {
    fn new(server: Authority) -> Scene {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".claude")).unwrap();
        let sign_in = known(Path::new("/nonexistent")).unwrap().remove(0);
        let scene = Scene { home, server: Arc::new(server), sign_in };
        scene.sign_in();
        scene
    }

    fn root(&self) -> std::path::PathBuf {
        self.home.path().canonicalize().unwrap()
    }

    /// The person signs in outside.
    fn sign_in(&self) {
        self.write(&self.server.sign_in());
    }

    fn write(&self, issued: &Issued) {
        let file = json!({
            "claudeAiOauth": {
                "accessToken": issued.access, "refreshToken": issued.refresh, "expiresAt": now() + 1000,
                "scopes": ["user:inference"], "unknown": [1, {"a": 2.5}],
            },
            "mcpOAuth": {"other": {"accessToken": "fake-other-0123456789"}},
        });
        std::fs::write(self.root().join(".claude/.credentials.json"), file.to_string()).unwrap();
    }

    fn place(&self) -> Place {
        let (file, lock) = self.sign_in.outside(&self.root(), |_| None);
        Place::find(&file, lock.as_deref(), &self.root()).unwrap()
    }

    fn tokens(&self, wanted: &Wanted, post: &dyn Post) -> Result<Kept, SignInError> {
        let (place, store) = (self.place(), self.root().join("store"));
        Keeper { sign_in: &self.sign_in, place: &place, store: &store, post }.tokens(wanted)
    }

    fn file(&self) -> Value {
        self.place().read().unwrap()
    }

    fn is_signed_in(&self) -> bool {
        self.server.is_live(self.file()["claudeAiOauth"]["refreshToken"].as_str().unwrap())
    }
}

#[test]
fn many_at_once_through_many_refreshes_refresh_each_token_once() {
    let scene = Scene::new(Authority::new(Duration::from_secs(1)));
    let threads = 4;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut refreshes = 0;
                let mut last = String::new();
                while refreshes < 10 {
                    let post = Direct(Arc::clone(&scene.server), |server: &Authority, body: &str| {
                        std::thread::sleep(Duration::from_millis(5));
                        Some(server.answer(body))
                    });
                    let Kept { tokens, .. } = scene.tokens(&Wanted::default(), &post).unwrap();
                    assert!(scene.server.lets_in(&tokens.access), "a token that is no good");
                    refreshes += i32::from(tokens.access != last);
                    last.clone_from(&tokens.access);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    assert!(scene.is_signed_in());
    // Each is used for three quarters of a second; four that refreshed on their own would have asked forty times.
    assert!((10..20).contains(&scene.server.refreshes()), "{}", scene.server.refreshes());
    let file = scene.file();
    assert_eq!(file["claudeAiOauth"]["unknown"], json!([1, {"a": 2.5}]), "what is not ours stays");
    assert_eq!(file["mcpOAuth"]["other"]["accessToken"], "fake-other-0123456789");
    assert!(!scene.root().join(".claude.lock").exists());
    let left: Vec<_> = std::fs::read_dir(scene.root().join(".claude")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn tokens_that_were_not_written_back_are_not_lost() {
    let scene = Scene::new(Authority::new(Duration::from_secs(3600)));
    let old = scene.file()["claudeAiOauth"]["refreshToken"].as_str().unwrap().to_owned();
    let issued = scene.server.refresh(&old).unwrap();
    let tokens = Tokens {
        access: issued.access.clone(),
        refresh: Some(issued.refresh.clone()),
        id: None,
        expires: Some(now() + 3_600_000),
    };
    // As a process leaves it that is killed before the file is replaced.
    let store = scene.root().join("store");
    let records = Records::of(&scene.sign_in, &scene.place(), &store).unwrap();
    let journal = Journal { replaces: Digest::of(old.as_bytes()), tokens, at: now() };
    records.write_journal(&journal).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&store.metadata().unwrap()) & 0o777, 0o700);
    for entry in store.read_dir().unwrap() {
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&entry.unwrap().metadata().unwrap()) & 0o777, 0o600);
    }
    let nobody = Direct(Arc::clone(&scene.server), |_: &Authority, _: &str| panic!("asked"));
    let Kept { tokens, refreshed, .. } = scene.tokens(&Wanted::default(), &nobody).unwrap();
    assert!(!refreshed && tokens.access == issued.access && scene.is_signed_in());
    assert!(records.journal().unwrap().is_none());
    // One for a token that nobody has any more belongs to a sign-in that is over.
    records.write_journal(&journal).unwrap();
    scene.sign_in();
    let post = Direct(Arc::clone(&scene.server), answers);
    scene.tokens(&Wanted::default(), &post).unwrap();
    assert!(scene.is_signed_in() && records.journal().unwrap().is_none());
}

#[test]
fn a_sign_in_that_is_over_is_said_and_the_file_stays() {
    let scene = Scene::new(Authority::new(Duration::from_secs(1)));
    let before = scene.file();
    let dropped = Direct(Arc::clone(&scene.server), |server: &Authority, body: &str| {
        server.answer(body);
        None
    });
    let said = scene.tokens(&Wanted::default(), &dropped).unwrap_err().to_string();
    assert!(said.contains("the connection was reset"), "{said}");
    let post = Direct(Arc::clone(&scene.server), answers);
    let said = scene.tokens(&Wanted::default(), &post).unwrap_err();
    assert!(matches!(&said, SignInError::Ended(word) if word == "invalid_grant"), "{said}");
    assert!(said.in_short().contains("sign in again outside"));
    assert_eq!(scene.file(), before);
    scene.sign_in();
    scene.tokens(&Wanted::default(), &post).unwrap();
    assert!(scene.is_signed_in());
}

#[test]
fn the_agent_outside_is_waited_for_and_never_overwritten() {
    let scene = Scene::new(Authority::new(Duration::from_secs(3600)));
    let lock = scene.root().join(".claude.lock");
    std::fs::create_dir(&lock).unwrap();
    let refresh = |issued: &Issued| scene.server.refresh(&issued.refresh).unwrap();
    let theirs = std::thread::scope(|scope| {
        let agent = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            let old = scene.file()["claudeAiOauth"]["refreshToken"].as_str().unwrap().to_owned();
            let mut issued = refresh(&Issued { access: String::new(), refresh: old, id: String::new() });
            scene.write(&issued);
            // Good for an hour, as it writes itself.
            let mut file = scene.file();
            file["claudeAiOauth"]["expiresAt"] = (now() + 3_600_000).into();
            scene.place().write(&file).unwrap();
            std::fs::remove_dir(&lock).unwrap();
            std::mem::take(&mut issued.access)
        });
        let nobody = Direct(Arc::clone(&scene.server), |_: &Authority, _: &str| panic!("asked twice"));
        let Kept { tokens, refreshed, .. } = scene.tokens(&Wanted::default(), &nobody).unwrap();
        assert!(!refreshed);
        assert_eq!(tokens.access, agent.join().unwrap());
        tokens.access.clone()
    });
    // Somebody signs in anew while a refresh is on its way.
    let rejected = Wanted { not: Some(Digest::of(theirs.as_bytes())) };
    let anew = Direct(Arc::clone(&scene.server), |server: &Authority, body: &str| {
        let answer = server.answer(body);
        scene.sign_in();
        Some(answer)
    });
    let Kept { tokens, .. } = scene.tokens(&rejected, &anew).unwrap();
    assert_eq!(scene.file()["claudeAiOauth"]["accessToken"], tokens.access.as_str());
    assert!(scene.is_signed_in());
}

#[test]
fn an_agent_without_a_lock_that_was_faster_is_believed() {
    let mut lenient = Authority::new(Duration::from_secs(3600));
    lenient.revokes = false;
    let scene = Scene::new(lenient);
    let post = Direct(Arc::clone(&scene.server), |server: &Authority, body: &str| {
        let used = scene.file()["claudeAiOauth"]["refreshToken"].as_str().unwrap().to_owned();
        if body.contains(&used) {
            scene.write(&server.refresh(&used).unwrap());
            return Some(server.answer(body));
        }
        Some(server.answer(body))
    });
    // It is faster each time: that ends, too.
    let said = scene.tokens(&Wanted::default(), &post).unwrap_err();
    assert!(matches!(said, SignInError::Ended(_)), "{said}");
    assert!(scene.is_signed_in(), "what the agent wrote stays");
}

#[test]
fn a_refused_token_is_refreshed_once_however_often_that_is_said() {
    let scene = Scene::new(Authority::new(Duration::from_secs(3600)));
    let post = Direct(Arc::clone(&scene.server), answers);
    let Kept { tokens: first, .. } = scene.tokens(&Wanted::default(), &post).unwrap();
    assert_eq!(scene.server.refreshes(), 1);
    for _ in 0..50 {
        let refused = Wanted { not: Some(Digest::of(first.access.as_bytes())) };
        let Kept { tokens: again, refreshed, .. } = scene.tokens(&refused, &post).unwrap();
        assert!(!refreshed && again.access == first.access);
    }
    assert_eq!(scene.server.refreshes(), 1);
    // One that was had long ago is another matter.
    let records = Records::of(&scene.sign_in, &scene.place(), &scene.root().join("store")).unwrap();
    let mut last = records.last().unwrap();
    last.at -= 2 * AGAIN;
    records.remember(&last).unwrap();
    let refused = Wanted { not: Some(Digest::of(first.access.as_bytes())) };
    assert!(scene.tokens(&refused, &post).unwrap().refreshed);
}

#[test]
fn requests_have_the_form_of_the_agent() {
    let scene = Scene::new(Authority::new(Duration::from_secs(3600)));
    let place = scene.place();
    let mut sign_in = scene.sign_in.clone();
    let nobody = Direct(Arc::clone(&scene.server), |_: &Authority, _: &str| None);
    let body = |sign_in: &SignIn| {
        let keeper = Keeper { sign_in, place: &place, store: Path::new("/nonexistent"), post: &nobody };
        let (media, body) = keeper.request("a/b c").unwrap();
        (media, String::from_utf8(body.to_vec()).unwrap())
    };
    let (media, text) = body(&sign_in);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (media, &json["scope"], &json["refresh_token"]),
        ("application/json", &json!("user:inference"), &json!("a/b c"))
    );
    (sign_in.form, sign_in.client_id, sign_in.scopes) = (Form::Form, "id".to_owned(), None);
    let form = "grant_type=refresh_token&refresh_token=a%2Fb+c&client_id=id";
    assert_eq!(body(&sign_in), ("application/x-www-form-urlencoded", form.to_owned()));
}
