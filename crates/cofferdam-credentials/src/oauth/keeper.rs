//! Who keeps a sign-in good: for all runs and for the agent outside at once.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::lock::{AgentLock, Lock};
use super::state::{Journal, Last, Records};
use super::tokens::{Digest, Tokens, now};
use super::{Form, Place, SignIn, SignInError, TokenUrl};

/// A token that ends sooner than this is refreshed, in milliseconds; one of a short life in the last quarter of it.
const AHEAD: i64 = 60_000;
/// A token that a server refused is refreshed no sooner than this after the refresh that gave it, in milliseconds: what a program
/// inside provokes must not refresh again and again.
const AGAIN: i64 = 60_000;

/// Asks a token endpoint.
pub trait Post {
    /// Posts a body of this media type; the answer, whatever its status.
    ///
    /// # Errors
    /// Where there is no answer, in words.
    fn post(&self, url: &TokenUrl, media: &str, body: &[u8]) -> Result<Reply, String>;
}

/// What a token endpoint answered.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Zeroizing<Vec<u8>>,
}

/// What is wanted of a sign-in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// Another access token than this one, which the server refused.
    #[serde(default)]
    pub not: Option<Digest>,
}

/// Tokens that are good for a while.
#[derive(Debug)]
pub struct Kept {
    /// The tokens.
    pub tokens: Tokens,
    /// Whether they were refreshed for it.
    pub refreshed: bool,
    /// When they are to be asked for again, in milliseconds since 1970, where their end is known.
    pub until: Option<i64>,
}

/// Keeps one sign-in good.
pub struct Keeper<'a> {
    /// Which.
    pub sign_in: &'a SignIn,
    /// Where it lies outside.
    pub place: &'a Place,
    /// Where of the store what is remembered lies.
    pub store: &'a Path,
    /// Who asks the server.
    pub post: &'a dyn Post,
}

impl Keeper<'_> {
    /// Tokens that are good for a while.
    ///
    /// The person's file is the truth: it is read again once the lock is held, for another run or the agent outside may have
    /// refreshed it meanwhile.
    ///
    /// # Errors
    /// Where nobody is signed in, or it cannot be refreshed. Then the file is as it was.
    pub fn tokens(&self, wanted: &Wanted) -> Result<Kept, SignInError> {
        let records = Records::of(self.sign_in, self.place, self.store)?;
        if records.journal()?.is_none()
            && let Some(good) = self.good(&records, wanted)?
        {
            return Ok(good);
        }
        let _lock = Lock::take(&records.lock)?;
        self.recover(&records)?;
        if let Some(good) = self.good(&records, wanted)? {
            return Ok(good);
        }
        let _agents = self.place.lock.as_deref().map(AgentLock::take).transpose()?;
        for last in [false, true] {
            if let Some(good) = self.good(&records, wanted)? {
                return Ok(good);
            }
            let old = self.read()?.1;
            match self.refresh(&records, &old) {
                // The agent outside was faster: what it got is in the file.
                Err(SignInError::Ended(_)) if !last && self.read()?.1.refresh != old.refresh => {}
                Err(e) => return Err(e),
                Ok(tokens) => {
                    let until = self.until(&records, &tokens);
                    return Ok(Kept { tokens, refreshed: true, until });
                }
            }
        }
        Err(SignInError::Server("it changes again and again".to_owned()))
    }

    fn read(&self) -> Result<(Value, Tokens), SignInError> {
        let file = self.place.read()?;
        let tokens = Tokens::read(self.sign_in, &file);
        let tokens = tokens.ok_or_else(|| SignInError::Nobody(self.place.path().to_owned()))?;
        Ok((file, tokens))
    }

    /// The tokens in the file, where they are good.
    fn good(&self, records: &Records, wanted: &Wanted) -> Result<Option<Kept>, SignInError> {
        let tokens = self.read()?.1;
        let (now, access) = (now(), Digest::of(tokens.access.as_bytes()));
        let last = records.last().filter(|last| last.access == access);
        if wanted.not.as_ref() == Some(&access)
            && !last.as_ref().is_some_and(|last| (0..AGAIN).contains(&(now - last.at)))
        {
            return Ok(None);
        }
        let until = self.until(records, &tokens);
        Ok(until.is_none_or(|until| until > now).then_some(Kept { tokens, refreshed: false, until }))
    }

    /// Until when tokens are used.
    fn until(&self, records: &Records, tokens: &Tokens) -> Option<i64> {
        let last = records.last().filter(|last| last.access == Digest::of(tokens.access.as_bytes()));
        let lifetime = last.and_then(|last| last.lifetime);
        let ahead = lifetime.map_or(AHEAD, |lifetime| (lifetime / 4).min(AHEAD));
        Some(tokens.expires?.saturating_sub(ahead))
    }

    /// Writes back what a refresh that broke off had left.
    fn recover(&self, records: &Records) -> Result<(), SignInError> {
        match records.journal()? {
            Some(journal) => self.write_back(records, &journal).map(|_| ()),
            None => Ok(()),
        }
    }

    fn refresh(&self, records: &Records, old: &Tokens) -> Result<Tokens, SignInError> {
        let refresh = old.refresh.as_deref().ok_or(SignInError::NoRefresh)?;
        let (media, body) = self.request(refresh)?;
        let reply = self.post.post(&self.sign_in.token_url, media, &body).map_err(SignInError::Server)?;
        if reply.status != 200 {
            return Err(refused(&reply));
        }
        let now = now();
        let tokens = old.answered(&reply.body, now).map_err(SignInError::Server)?;
        let journal = Journal { replaces: Digest::of(refresh.as_bytes()), tokens, at: now };
        records.write_journal(&journal)?;
        self.write_back(records, &journal)
    }

    /// Writes new tokens into the person's file, unless it has others since; those that are there then.
    fn write_back(&self, records: &Records, journal: &Journal) -> Result<Tokens, SignInError> {
        let (mut file, there) = self.read()?;
        // Somebody signed in anew, or out: what they have is theirs.
        let ours = there.refresh.as_deref().is_some_and(|own| Digest::of(own.as_bytes()) == journal.replaces);
        let tokens = if ours {
            journal.tokens.write(self.sign_in, &mut file, journal.at);
            self.place.write(&file)?;
            records.remember(&Last {
                access: Digest::of(journal.tokens.access.as_bytes()),
                at: journal.at,
                lifetime: journal.tokens.expires.map(|end| end - journal.at),
            })?;
            journal.tokens.clone()
        } else {
            there
        };
        records.remove_journal()?;
        Ok(tokens)
    }

    /// A refresh request (RFC 6749, section 6).
    fn request(&self, refresh: &str) -> Result<(&'static str, Zeroizing<Vec<u8>>), SignInError> {
        let SignIn { client_id, client_secret, scopes, form, .. } = self.sign_in;
        let scopes = match scopes {
            Some(pointer) => scope(&self.place.read()?, pointer),
            None => None,
        };
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", client_id)];
        fields.extend(client_secret.as_deref().map(|secret| ("client_secret", secret)));
        fields.extend(scopes.as_deref().map(|scopes| ("scope", scopes)));
        Ok(match form {
            Form::Json => {
                let object: serde_json::Map<String, Value> =
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                let text = serde_json::to_vec(&object).map_err(|e| SignInError::Server(e.to_string()))?;
                ("application/json", Zeroizing::new(text))
            }
            Form::Form => {
                let mut text = Zeroizing::new(Vec::new());
                for (name, value) in fields {
                    if !text.is_empty() {
                        text.push(b'&');
                    }
                    text.extend_from_slice(name.as_bytes());
                    text.push(b'=');
                    encode(value, &mut text);
                }
                ("application/x-www-form-urlencoded", text)
            }
        })
    }
}

/// The scopes in a file, as a request has them (RFC 6749, section 3.3).
pub(super) fn scope(file: &Value, pointer: &str) -> Option<String> {
    let list: Vec<&str> = file.pointer(pointer)?.as_array()?.iter().filter_map(Value::as_str).collect();
    (!list.is_empty()).then(|| list.join(" "))
}

/// Percent-encodes a value of a form (WHATWG URL, section 5.2).
fn encode(value: &str, into: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => into.push(byte),
            b' ' => into.push(b'+'),
            _ => into.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

/// What a server that does not refresh says (RFC 6749, section 5.2).
fn refused(reply: &Reply) -> SignInError {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let error = body.as_ref().and_then(|body| body.get("error"));
    // Some say it as an object with a code.
    let word = error.and_then(|error| error.as_str().or_else(|| error.get("code")?.as_str()));
    let word = word.filter(|w| w.len() <= 64 && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    let ended = |word: &str| word == "invalid_grant" || word.starts_with("refresh_token_");
    match word {
        Some(word) if ended(word) => SignInError::Ended(word.to_owned()),
        Some(word) => SignInError::Server(format!("the server answered {}, {word}", reply.status)),
        None => SignInError::Server(format!("the server answered {}", reply.status)),
    }
}

#[cfg(test)]
mod tests;
