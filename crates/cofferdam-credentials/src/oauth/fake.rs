//! An authorization server for tests: it rotates refresh tokens at each use, and revokes all that came of a sign-in when an
//! old one is used again (RFC 9700, section 4.14.2). The tests of the program use it behind a socket.
#![allow(dead_code, reason = "each of the two uses a part of it")]

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The server.
pub struct Authority {
    /// How long access tokens are good, in whole seconds as the answer says it.
    lifetime: Duration,
    /// Whether an old refresh token ends everything.
    pub revokes: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    families: Vec<Family>,
    /// Every token ever issued.
    issued: Vec<String>,
    refreshes: usize,
}

#[derive(Default)]
struct Family {
    refresh: String,
    used: HashSet<String>,
    access: HashMap<String, Instant>,
    revoked: bool,
}

/// What a refresh or a sign-in gave.
pub struct Issued {
    pub access: String,
    pub refresh: String,
    pub id: String,
}

impl Authority {
    pub fn new(lifetime: Duration) -> Authority {
        Authority { lifetime, revokes: true, state: Mutex::default() }
    }

    /// A person signs in.
    pub fn sign_in(&self) -> Issued {
        let mut state = self.state.lock().unwrap();
        state.families.push(Family::default());
        let last = state.families.len() - 1;
        issue(&mut state, last)
    }

    /// Refreshes; what is wrong, as the word of RFC 6749, section 5.2.
    pub fn refresh(&self, token: &str) -> Result<Issued, &'static str> {
        let mut state = self.state.lock().unwrap();
        state.refreshes += 1;
        let known = |family: &Family| family.refresh == token || family.used.contains(token);
        let at = state.families.iter().position(known).ok_or("invalid_grant")?;
        let family = &mut state.families[at];
        if family.revoked {
            return Err("invalid_grant");
        }
        if family.refresh != token {
            family.revoked = self.revokes;
            return Err("invalid_grant");
        }
        Ok(issue(&mut state, at))
    }

    /// Whether a request with this access token is let in.
    pub fn lets_in(&self, access: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.families.iter().any(|family| {
            !family.revoked && family.access.get(access).is_some_and(|since| since.elapsed() < self.lifetime)
        })
    }

    /// No access token is good any more, though none has ended: only a refresh helps.
    pub fn forget_access(&self) {
        self.state.lock().unwrap().families.iter_mut().for_each(|family| family.access.clear());
    }

    /// All that was signed in is not any more.
    pub fn revoke(&self) {
        self.state.lock().unwrap().families.iter_mut().for_each(|family| family.revoked = true);
    }

    /// Whether somebody who has this refresh token is signed in.
    pub fn is_live(&self, refresh: &str) -> bool {
        self.state.lock().unwrap().families.iter().any(|family| !family.revoked && family.refresh == refresh)
    }

    pub fn issued(&self) -> Vec<String> {
        self.state.lock().unwrap().issued.clone()
    }

    /// How often somebody asked.
    pub fn refreshes(&self) -> usize {
        self.state.lock().unwrap().refreshes
    }

    /// The answer to a refresh request's body, in either form: status and JSON.
    pub fn answer(&self, body: &str) -> (u16, String) {
        let field = |name: &str| {
            let json = format!("\"{name}\":\"");
            if let Some(at) = body.find(&json) {
                return body[at + json.len()..].split('"').next().map(str::to_owned);
            }
            body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
        };
        if field("grant_type").as_deref() != Some("refresh_token") {
            return (400, "{\"error\":\"unsupported_grant_type\"}".to_owned());
        }
        match self.refresh(&field("refresh_token").unwrap_or_default()) {
            Ok(Issued { access, refresh, id }) => {
                let lifetime = self.lifetime.as_secs();
                let answer = format!(
                    "{{\"access_token\":\"{access}\",\"refresh_token\":\"{refresh}\",\"id_token\":\"{id}\",\
                     \"token_type\":\"Bearer\",\"expires_in\":{lifetime}}}"
                );
                (200, answer)
            }
            Err(error) => (400, format!("{{\"error\":\"{error}\"}}")),
        }
    }
}

fn issue(state: &mut State, at: usize) -> Issued {
    let token = |kind: &str| format!("fake.{kind}.{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let issued = Issued { access: token("at"), refresh: token("rt"), id: token("it") };
    let family = &mut state.families[at];
    let old = std::mem::replace(&mut family.refresh, issued.refresh.clone());
    family.used.insert(old);
    family.access.insert(issued.access.clone(), Instant::now());
    state.issued.extend([&issued.access, &issued.refresh, &issued.id].map(Clone::clone));
    issued
}
