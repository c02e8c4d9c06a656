//! Data that must not leave: known secrets, the contents of decoys, and what has the shape of a credential.
//!
//! Encodings are seen as far as [`cofferdam_evidence::Striker`] knows them. What is compressed or encrypted inside is
//! not: a guard rail beside the rules, which say where anything may go at all.

use std::rc::Rc;

use bytes::Bytes;
use cofferdam_evidence::{Held, Search, Striker};
use cofferdam_exchange::decoding::{self, Decoding};
use cofferdam_exchange::{Filter, Interceptor, Refusal, Target, Verdict, Waiting, is_credential};
use http::{HeaderMap, request};

use super::shapes::{Look, look};
use crate::tripwires::DECOY;

/// Refuses requests that carry what must not leave.
pub(crate) struct Guard {
    known: Rc<Striker>,
}

impl Guard {
    /// `known` finds the secrets and the decoys.
    pub(crate) fn new(known: Striker) -> Guard {
        Guard { known: Rc::new(known) }
    }

    fn head(&self, head: &request::Parts) -> Result<(), Refusal> {
        let target = head.uri.path_and_query().map_or("", |path| path.as_str());
        self.text(target.as_bytes(), true)?;
        self.fields(&head.headers)
    }

    fn seeking(&self) -> Seeking {
        Seeking { search: self.known.search(), held: Held::new(MIN_HELD) }
    }

    fn fields(&self, fields: &HeaderMap) -> Result<(), Refusal> {
        for (name, value) in fields {
            // A program that signed in has a credential of its own to send there.
            self.text(value.as_bytes(), !is_credential(name))?;
            self.text(name.as_str().as_bytes(), false)?;
        }
        Ok(())
    }

    fn text(&self, text: &[u8], shaped: bool) -> Result<(), Refusal> {
        if let Some(name) = self.known.find(text) {
            return Err(known(&name));
        }
        match look(text) {
            Look::Found(shape) if shaped => Err(shape_of(shape)),
            _ => Ok(()),
        }
    }
}

fn known(name: &str) -> Refusal {
    match name.strip_prefix(DECOY) {
        Some(decoy) => Refusal::new(
            "tripwire",
            format!(
                "the request holds the content of the decoy {decoy}, which nothing but a search for credentials reads"
            ),
        ),
        None => Refusal::new("secret", format!("the request holds the value of the secret {name} of this machine")),
    }
}

fn shape_of(shape: &str) -> Refusal {
    Refusal::new("credential-shaped", format!("the request holds what has the shape of {shape}"))
}

impl Interceptor for Guard {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn request<'a>(&'a self, _: &'a Target, head: &'a mut request::Parts) -> Waiting<'a, Verdict> {
        let verdict = match self.head(head) {
            Ok(()) => Verdict::Pass(Some(Box::new(Guarded {
                guard: Guard { known: Rc::clone(&self.known) },
                body: self.seeking(),
                decoding: Decoding::of(&head.headers, self.seeking()),
            }))),
            Err(refusal) => Verdict::Refuse(refusal),
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// A body that is looked through.
struct Guarded {
    guard: Guard,
    body: Seeking,
    /// The same body, where it is compressed.
    decoding: Option<Decoding<Seeking>>,
}

/// A stream that is looked through.
struct Seeking {
    search: Search,
    /// What may be the beginning of a credential.
    held: Held,
}

/// Fewest bytes of a beginning that are held back.
const MIN_HELD: usize = 4;

impl Seeking {
    fn shaped(&mut self, more: &[u8]) -> Result<Vec<u8>, Refusal> {
        match look(self.held.push(more)) {
            Look::Found(shape) => Err(shape_of(shape)),
            Look::Open(at) => {
                let mut out = Vec::new();
                self.held.pass(at, &mut out);
                Ok(out)
            }
        }
    }
}

impl Seeking {
    fn push(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let mut out = Vec::with_capacity(piece.len());
        self.search.push(&piece, &mut out).map_err(|found| known(&found.0))?;
        if self.held.is_empty() && out.len() == piece.len() && look(&piece) == Look::Open(piece.len()) {
            return Ok(piece); // nothing held, nothing copied
        }
        Ok(self.shaped(&out)?.into())
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        let rest = self.search.end();
        let mut out = self.shaped(&rest)?;
        out.extend(self.held.end());
        Ok(out.into())
    }
}

impl decoding::Look for Seeking {
    fn look(&mut self, decoded: &[u8]) -> Result<bool, Refusal> {
        let mut out = Vec::with_capacity(decoded.len());
        self.search.push(decoded, &mut out).map_err(|found| known(&found.0))?;
        self.shaped(&out)?;
        Ok(self.search.is_holding() || self.held.is_holding())
    }
}

impl Filter for Guarded {
    fn data(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let piece = match &mut self.decoding {
            Some(decoding) => decoding.push(piece)?,
            None => piece,
        };
        self.body.push(piece)
    }

    fn end(&mut self) -> Result<Bytes, Refusal> {
        let mut rest = match &mut self.decoding {
            Some(decoding) => self.body.push(decoding.end())?.to_vec(),
            None => Vec::new(),
        };
        rest.extend_from_slice(&self.body.end()?);
        Ok(rest.into())
    }

    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), Refusal> {
        self.guard.fields(fields)
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::RuleRef;
    use cofferdam_evidence::Secrets;
    use http::Request;

    use super::*;

    fn guard() -> Guard {
        let mut secrets = Secrets::default();
        secrets.add("GITHUB_TOKEN", b"s3cret-Value-0123").unwrap();
        secrets.add("decoy-aws", b"QmFkIGlkZWEhIQ-decoy").unwrap();
        Guard::new(Striker::new(&secrets).unwrap())
    }

    fn verdict(request: Request<()>) -> Verdict {
        let rule = RuleRef { layer: "person".into(), file: None, line: 1, name: None };
        let target =
            Target { connection: 1, tls: true, host: "a.example".into(), port: 443, rule, purpose: "test".into() };
        let guard = guard();
        let mut head = request.into_parts().0;
        let mut waiting = guard.request(&target, &mut head);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match waiting.as_mut().poll(&mut context) {
            std::task::Poll::Ready(verdict) => verdict,
            std::task::Poll::Pending => panic!("the guard waits for nothing"),
        }
    }

    fn refused(request: Request<()>) -> Option<String> {
        match verdict(request) {
            Verdict::Refuse(refusal) => Some(refusal.reason),
            _ => None,
        }
    }

    #[test]
    fn heads_are_looked_through() {
        let get = |uri: &str| Request::get(uri).body(()).unwrap();
        assert_eq!(refused(get("/x?k=s3cret-Value-0123")), Some("secret".into()));
        assert_eq!(refused(get("/x?k=s3cret%2DValue%2D0123")), None, "not a form that anything writes");
        assert_eq!(refused(get("/QmFkIGlkZWEhIQ-decoy")), Some("tripwire".into()));
        let token = format!("ghp_{}", "a1B2".repeat(9));
        assert_eq!(refused(get(&format!("/?t={token}"))), Some("credential-shaped".into()));
        let with = |name: &str, value: &str| Request::get("/").header(name, value).body(()).unwrap();
        assert_eq!(refused(with("x-note", &token)), Some("credential-shaped".into()));
        assert_eq!(refused(with("authorization", &format!("Bearer {token}"))), None, "its own");
        assert_eq!(refused(with("authorization", "Bearer s3cret-Value-0123")), Some("secret".into()));
        assert_eq!(refused(with("s3cret-value-0123", "x")), None, "names are lower case: no form of the value");
    }

    #[test]
    fn bodies_are_looked_through_however_they_are_cut() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA";
        for (text, reason) in [
            ("…s3cret-Value-0123…", Some("secret")),
            ("AKIAABCDEFGHIJKLMNOP", Some("credential-shaped")),
            (pem, Some("credential-shaped")),
            ("nothing AKIA to see, s3cret-Value", None),
        ] {
            for size in 1..=text.len() {
                let Verdict::Pass(Some(mut filter)) = verdict(Request::post("/").body(()).unwrap()) else { panic!() };
                let mut passed = Vec::new();
                let mut refusal = None;
                for piece in text.as_bytes().chunks(size) {
                    match filter.data(Bytes::copy_from_slice(piece)) {
                        Ok(out) => passed.extend_from_slice(&out),
                        Err(why) => refusal = Some(why.reason),
                    }
                }
                match filter.end() {
                    Ok(out) if refusal.is_none() => passed.extend_from_slice(&out),
                    Ok(_) => {}
                    Err(why) => refusal = Some(why.reason),
                }
                assert_eq!(refusal.as_deref(), reason, "{text} by {size}");
                if reason.is_none() {
                    assert_eq!(passed, text.as_bytes(), "by {size}");
                }
            }
        }
    }
}
