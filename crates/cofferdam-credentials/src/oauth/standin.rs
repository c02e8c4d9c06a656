//! What stands inside in the place of a sign-in.

use std::io;

use cofferdam_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keeper::scope;
use super::pointer::{copy, set};
use super::tokens::{Tokens, now};
use super::{SignIn, jwt};
use crate::placeholder::{placeholder, random};

/// How long what stands inside says that it is good, in milliseconds: longer than a run lasts, so that agents are quiet.
const GOOD: i64 = 365 * 86_400_000;

/// Placeholders for the tokens of a sign-in, new for each run. They are worth nothing elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// For the access token.
    pub access: String,
    /// For the refresh token.
    pub refresh: String,
    /// For the ID token, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Until when they say that they are good, in milliseconds since 1970.
    pub until: i64,
    /// The scopes, as an answer of the server has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl StandIn {
    /// For what the person's file holds; `None` where nobody is signed in.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(sign_in: &SignIn, file: &Value) -> io::Result<Option<StandIn>> {
        let Some(tokens) = Tokens::read(sign_in, file) else { return Ok(None) };
        let until = now() + GOOD;
        let name = &sign_in.name;
        let like = |token: &str, kind: &str| -> io::Result<String> {
            match jwt::like(token, &sign_in.claims, until, name, &random()?) {
                Some(like) => Ok(like),
                None => placeholder(&format!("{name}-{kind}")),
            }
        };
        Ok(Some(StandIn {
            access: like(&tokens.access, "access")?,
            refresh: placeholder(&format!("{name}-refresh"))?,
            id: tokens.id.as_deref().map(|id| like(id, "id")).transpose()?,
            until,
            scope: sign_in.scopes.as_deref().and_then(|pointer| scope(file, pointer)),
        }))
    }

    /// Writes them into the file for the inside, with what else of the person's the agent is shown.
    pub fn write(&self, sign_in: &SignIn, outside: &Value, into: &mut Value) {
        sign_in.keep.iter().for_each(|pointer| copy(outside, into, pointer));
        set(into, &sign_in.access, self.access.as_str().into());
        set(into, &sign_in.refresh, self.refresh.as_str().into());
        if let (Some(pointer), Some(id)) = (&sign_in.id, &self.id) {
            set(into, pointer, id.as_str().into());
        }
        if let Some(pointer) = &sign_in.expires {
            set(into, pointer, self.until.into());
        }
        if let Some(pointer) = &sign_in.refreshed {
            set(into, pointer, Timestamp::now().to_string().into());
        }
    }

    /// What an agent that refreshes inside is answered (RFC 6749, section 5.1).
    pub(super) fn granted(&self) -> Value {
        let mut answer = json!({
            "access_token": self.access,
            "refresh_token": self.refresh,
            "token_type": "Bearer",
            "expires_in": (self.until - now()).max(0) / 1000,
        });
        if let Some(id) = &self.id {
            answer["id_token"] = id.as_str().into();
        }
        if let Some(scope) = &self.scope {
            answer["scope"] = scope.as_str().into();
        }
        answer
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        [Some(&self.access), Some(&self.refresh), self.id.as_ref()].into_iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::known;
    use super::*;

    #[test]
    fn inside_stands_the_same_shape_and_nothing_else_of_the_persons() {
        let all = known(Path::new("/nonexistent")).unwrap();
        let outside = json!({
            "claudeAiOauth": {
                "accessToken": "fake-access-0123456789", "refreshToken": "fake-refresh-0123456789",
                "expiresAt": 1, "scopes": ["user:inference", "user:profile"], "subscriptionType": "max", "email": "me@example.com",
            },
            "mcpOAuth": { "x": { "accessToken": "fake-other-0123456789" } },
        });
        let stand_in = StandIn::new(&all[0], &outside).unwrap().unwrap();
        let mut inside = json!({});
        stand_in.write(&all[0], &outside, &mut inside);
        let text = inside.to_string();
        assert!(!text.contains("fake-") && !text.contains("example.com") && !text.contains("mcpOAuth"), "{text}");
        let own = &inside["claudeAiOauth"];
        assert_eq!((&own["subscriptionType"], &own["scopes"][1]), (&json!("max"), &json!("user:profile")));
        assert!(own["expiresAt"].as_i64().unwrap() > now() + GOOD / 2);
        let granted = stand_in.granted();
        assert_eq!(
            (&granted["access_token"], &granted["scope"]),
            (&own["accessToken"], &json!("user:inference user:profile"))
        );
        assert!(StandIn::new(&all[0], &json!({"claudeAiOauth": {"accessToken": ""}})).unwrap().is_none());
    }
}
