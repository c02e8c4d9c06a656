//! The tokens of a sign-in.

use cofferdam_core::Timestamp;
use cofferdam_core::bytes::hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

use super::pointer::set;
use super::{SignIn, jwt};

/// Most bytes of a token: no evidence could be kept free of a longer one.
const LONGEST: usize = 4096;
/// How long a token is good whose end nobody says, in milliseconds.
const UNSAID: i64 = 3_600_000;

/// The tokens of a sign-in; forgotten without a trace in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What requests carry.
    pub access: String,
    /// What the next ones are had for; absent where there is none.
    #[serde(default)]
    pub refresh: Option<String>,
    /// Who it is (OpenID Connect Core, section 2).
    #[serde(default)]
    pub id: Option<String>,
    /// When the access token ends, in milliseconds since 1970, where that is known.
    #[serde(default)]
    pub expires: Option<i64>,
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.access.zeroize();
        self.refresh.zeroize();
        self.id.zeroize();
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The SHA-256 of a token, by which it is spoken of where it must not be: in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(pub String);

impl Digest {
    /// Of this token.
    pub fn of(token: &[u8]) -> Digest {
        Digest(hex(&Sha256::digest(token)))
    }
}

/// The present, in milliseconds since 1970.
pub(super) fn now() -> i64 {
    let (seconds, nanoseconds) = Timestamp::now().parts();
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Whether it is one that a request can carry and evidence can be kept free of.
fn is_token(text: &str) -> bool {
    text.len() <= LONGEST && text.len() >= 8 && text.bytes().all(|b| matches!(b, b'!'..=b'~'))
}

impl Tokens {
    /// What the agent's file holds; `None` where nobody is signed in.
    pub fn read(sign_in: &SignIn, file: &Value) -> Option<Tokens> {
        let token = |pointer: &str| file.pointer(pointer).and_then(Value::as_str).filter(|text| is_token(text));
        let access = token(&sign_in.access)?.to_owned();
        let said = sign_in.expires.as_deref().and_then(|pointer| file.pointer(pointer)?.as_f64());
        // Milliseconds of this age are far below 2^53.
        let said = said.map(|ms| ms as i64);
        Some(Tokens {
            refresh: token(&sign_in.refresh).map(str::to_owned),
            id: sign_in.id.as_deref().and_then(token).map(str::to_owned),
            expires: said.or_else(|| jwt::expires(&access)),
            access,
        })
    }

    /// What a token endpoint answered (RFC 6749, section 5.1); what it does not give stays as it was.
    ///
    /// # Errors
    /// Where it gave no token, in words that hold none.
    pub(super) fn answered(&self, body: &[u8], now: i64) -> Result<Tokens, String> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            refresh_token: Option<String>,
            id_token: Option<String>,
            expires_in: Option<f64>,
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| "its answer holds no access token".to_owned())?;
        let given = [Some(&answer.access_token), answer.refresh_token.as_ref(), answer.id_token.as_ref()];
        if !given.into_iter().flatten().all(|token| is_token(token)) {
            return Err("its answer holds what can be no token".to_owned());
        }
        let said = answer.expires_in.filter(|s| (0.0..=1e9).contains(s)).map(|s| now + (s * 1000.0) as i64);
        Ok(Tokens {
            expires: said.or_else(|| jwt::expires(&answer.access_token)),
            access: answer.access_token,
            refresh: answer.refresh_token.or_else(|| self.refresh.clone()),
            id: answer.id_token.or_else(|| self.id.clone()),
        })
    }

    /// Writes them into the agent's file, at `now`; all else in it stays.
    pub(super) fn write(&self, sign_in: &SignIn, file: &mut Value, now: i64) {
        set(file, &sign_in.access, self.access.as_str().into());
        if let Some(refresh) = &self.refresh {
            set(file, &sign_in.refresh, refresh.as_str().into());
        }
        if let (Some(pointer), Some(id)) = (&sign_in.id, &self.id) {
            set(file, pointer, id.as_str().into());
        }
        if let Some(pointer) = &sign_in.expires {
            set(file, pointer, self.expires.unwrap_or(now + UNSAID).into());
        }
        if let Some(pointer) = &sign_in.refreshed {
            let at = Timestamp::from_parts(now.div_euclid(1000), now.rem_euclid(1000) * 1_000_000);
            set(file, pointer, at.to_string().into());
        }
    }

    /// All values that are secret.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        [Some(&self.access), self.refresh.as_ref(), self.id.as_ref()].into_iter().flatten().map(String::as_str)
    }
}
