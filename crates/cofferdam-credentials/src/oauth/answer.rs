//! What an agent that refreshes inside is answered: its request is never passed on.

use cofferdam_exchange::{Answer, Target};
use cofferdam_policy::NormalPath;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, request};
use serde::{Deserialize, Serialize};

use super::{SignIn, StandIn};

/// A sign-in of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// What is known of it.
    pub sign_in: SignIn,
    /// What stands for it inside; absent where nobody is signed in outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
}

impl Grant {
    /// Whether a request asks for tokens of it.
    pub(crate) fn is_asked(&self, target: &Target, head: &request::Parts) -> bool {
        self.sign_in.token_urls().any(|url| {
            (url.tls, url.host_inside(), url.port) == (target.tls, &target.host, target.port)
                && is_same(head.uri.path(), &url.path)
                // Looking is no asking: CORS, a client that looks whether it is there.
                && head.method == Method::POST
        })
    }
}

/// Whether a path is that of a token endpoint, however it is written. One that can be read in several ways is taken for it.
fn is_same(path: &str, own: &str) -> bool {
    match (NormalPath::of(path), NormalPath::of(own)) {
        (Ok(path), Ok(own)) => path.as_str().trim_end_matches('/') == own.as_str().trim_end_matches('/'),
        _ => true,
    }
}

/// The answer to who refreshes what stands inside.
pub fn granted(stand_in: &StandIn) -> Answer {
    let (mut head, ()) = Response::new(()).into_parts();
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer { head, body: stand_in.granted().to_string().into() }
}
