//! The interceptor: a placeholder becomes the value in the field and for the hosts that its credential names, and leaves
//! nowhere else.

mod held;

use std::cell::RefCell;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{CredentialUsed, EventKind};
use cofferdam_evidence::{Search, Secrets, Striker};
use cofferdam_exchange::{Filter, Interceptor, Notes, Refusal, Target, Verdict, Waiting};
use cofferdam_policy::{Credential, Request, Scheme, Use};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request, response};
use zeroize::Zeroizing;

use crate::field::replaced;
use crate::mask;
use crate::oauth::{Digest, Grant, granted};
use held::Held;

/// A value; forgotten without a trace in memory.
pub type Value = Zeroizing<Vec<u8>>;

/// Who gets values: it runs nothing itself.
pub trait Fetch {
    /// The value of the credential of this name, or why it is not to be had, in words for the program inside. Of a sign-in
    /// another one than `not`, which a server refused, where that can be.
    fn fetch(&self, name: &str, not: Option<Digest>) -> Waiting<'static, Result<Fetched, String>>;
}

/// What was fetched.
pub struct Fetched {
    /// The value.
    pub value: Value,
    /// When it is to be asked for again, in milliseconds since 1970, where its source says so.
    pub until: Option<i64>,
}

/// A credential of a run.
#[derive(Debug)]
pub struct Planned {
    /// What policy says of it.
    pub credential: Credential,
    /// What stands for it inside, where it is exposed.
    pub placeholder: Option<String>,
    /// The sign-in that it is, where it is one.
    pub grant: Option<Grant>,
}

impl Planned {
    /// All that stands for it inside.
    fn placeholders(&self) -> impl Iterator<Item = &str> {
        let others = self.grant.iter().filter_map(|grant| grant.stand_in.as_ref()).flat_map(|own| own.all());
        self.placeholder.as_deref().into_iter().chain(others)
    }
}

/// Puts credentials into requests.
pub struct Injector {
    credentials: Vec<Held>,
    /// Finds placeholders, by the names of their credentials.
    placeholders: Striker,
    /// Finds the values that were fetched.
    values: Striker,
    known: RefCell<Secrets>,
    fetch: Box<dyn Fetch>,
}

/// Where a credential goes into a request.
struct Place<'a> {
    held: &'a Held,
    one: &'a Use,
    field: HeaderName,
    /// Whether the program sent the placeholder.
    placeholder: bool,
}

impl Injector {
    /// # Errors
    /// Where the placeholders cannot be searched for, in words.
    pub fn new(credentials: Vec<Planned>, fetch: Box<dyn Fetch>) -> Result<Injector, String> {
        let mut secrets = Secrets::default();
        for planned in &credentials {
            for placeholder in planned.placeholders() {
                let name = &planned.credential.name;
                secrets.add(name, placeholder.as_bytes()).map_err(|e| format!("the placeholder of {name}: {e}"))?;
            }
        }
        Ok(Injector {
            credentials: credentials.into_iter().map(Held::new).collect(),
            placeholders: Striker::new(&secrets).map_err(|e| e.to_string())?,
            values: Striker::default(),
            known: RefCell::default(),
            fetch,
        })
    }

    async fn put(&self, target: &Target, head: &mut request::Parts) -> Verdict {
        for held in &self.credentials {
            if let Some(grant) = held.planned.grant.as_ref().filter(|grant| grant.is_asked(target, head)) {
                return self.grant(held, grant).await;
            }
        }
        let places = self.places(target, head);
        let mut bare = head.clone();
        for place in places.iter().filter(|place| place.placeholder) {
            place.write(&mut bare.headers, b"");
        }
        // Before anything is fetched: what must not leave is not worth a fetch.
        if let Some(name) = self.stray(&bare) {
            return Verdict::Refuse(self.refusal(&name, target, Some(head)));
        }
        let mut notes = Vec::new();
        for place in &places {
            let credential = &place.held.planned.credential;
            let value = match self.value(place.held).await {
                Ok(value) => value,
                Err(why) => return missing(&credential.name, &why),
            };
            place.write(&mut head.headers, &value);
            notes.push(EventKind::CredentialUsed(CredentialUsed {
                name: credential.name.clone(),
                purpose: credential.purpose.clone(),
                connection: target.connection,
                host: target.host.clone(),
                port: target.port,
                header: place.one.header.clone(),
                placeholder: place.placeholder,
            }));
        }
        if !notes.is_empty() {
            // So that the value can be found where the server gives it back.
            if head.headers.contains_key(ACCEPT_ENCODING) {
                head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            head.extensions.insert(Notes(notes));
        }
        let search = Body { filter: self.placeholders.search(), refusals: self.refusals(target) };
        Verdict::Pass((!search.refusals.is_empty()).then(|| Box::new(search) as Box<dyn Filter>))
    }

    /// Answers who asks for tokens of a sign-in: whatever the request holds, it goes nowhere.
    async fn grant(&self, held: &Held, grant: &Grant) -> Verdict {
        let name = &held.planned.credential.name;
        let Some(stand_in) = &grant.stand_in else {
            let detail =
                format!("nobody is signed in to {name} outside, and who signs in inside would have the tokens here");
            let next = "a person signs in outside, with the same agent, and starts the run again";
            return Verdict::Refuse(Refusal::new("sign-in", format!("{detail}: {next}")));
        };
        match self.value(held).await {
            Ok(_) => Verdict::Answer(Box::new(granted(stand_in))),
            Err(why) => missing(name, &why),
        }
    }

    /// Where credentials go into this request. A field that the program fills by itself is left to it.
    fn places<'a>(&'a self, target: &Target, head: &request::Parts) -> Vec<Place<'a>> {
        let asked = asked(target, Some(head));
        let mut places: Vec<Place<'a>> = Vec::new();
        for held in &self.credentials {
            let Some(one) = held.planned.credential.use_for(&asked) else { continue };
            // Policy takes no other names.
            let Ok(field) = HeaderName::from_bytes(one.header.as_bytes()) else { continue };
            let sent = head.headers.contains_key(&field);
            let placeholder = held.planned.placeholder.as_ref().is_some_and(|placeholder| {
                head.headers.get_all(&field).iter().any(|v| replaced(v.as_bytes(), placeholder, b"").is_some())
            });
            if placeholder
                || !sent
                    && !held.planned.credential.placeholder_only
                    && !places.iter().any(|place| place.field == field)
            {
                places.push(Place { held, one, field, placeholder });
            }
        }
        places
    }

    /// The credential whose placeholder stands in a head.
    fn stray(&self, head: &request::Parts) -> Option<String> {
        let target = head.uri.path_and_query().map_or("", |path| path.as_str());
        self.placeholders
            .find(head.method.as_str().as_bytes())
            .or_else(|| self.placeholders.find(target.as_bytes()))
            .or_else(|| stray_field(&self.placeholders, &head.headers))
    }

    async fn value(&self, held: &Held) -> Result<Value, String> {
        let _turn = held.fetches.lock().await;
        if let Some(value) = held.value() {
            return Ok(value);
        }
        let credential = &held.planned.credential;
        let Fetched { value, until } = self.fetch.fetch(&credential.name, held.refused()).await?;
        // Looked for in answers before anybody out there has it.
        let mut known = self.known.borrow_mut();
        known.renew(&credential.name, &value).map_err(|e| format!("it could not be masked in answers: {e}"))?;
        self.values.renew(&known).map_err(|e| e.to_string())?;
        held.keep(value.clone(), until);
        Ok(value)
    }

    /// What is said of each placeholder in the body of a request to this target.
    fn refusals(&self, target: &Target) -> Vec<(String, Refusal)> {
        let exposed = self.credentials.iter().filter(|held| held.planned.placeholders().next().is_some());
        let names = exposed.map(|held| held.planned.credential.name.clone());
        names.map(|name| (name.clone(), self.refusal(&name, target, None))).collect()
    }

    /// Why a placeholder does not leave where it stands; without a head in the body.
    fn refusal(&self, name: &str, target: &Target, head: Option<&request::Parts>) -> Refusal {
        let mut detail = format!("the request holds the placeholder of the credential {name}");
        let own = self.credentials.iter().map(|held| &held.planned.credential).find(|own| own.name == name);
        if let Some(own) = own {
            let (to, asked) = (asked(target, None), asked(target, head));
            let field = own.uses.iter().find(|one| one.is_about(&to)).map(|one| one.header.as_str());
            match field {
                Some(field) if head.is_none() || own.use_for(&asked).is_some() => {
                    detail.push_str(&format!(" elsewhere than in the field {field}"));
                }
                Some(_) => detail.push_str(", whose uses do not name this method and path"),
                None => {
                    detail.push_str(&format!(", which is for {} and not for {}", own.hosts().join(", "), target.host))
                }
            }
        }
        Refusal::new("placeholder", detail)
    }
}

impl Place<'_> {
    /// Writes the value into its field.
    fn write(&self, fields: &mut HeaderMap, value: &[u8]) {
        let sensitive = |bytes: &[u8]| {
            // Whoever fetched it has seen to it that a field can carry it.
            let mut value = HeaderValue::from_bytes(bytes).unwrap_or_else(|_| HeaderValue::from_static(""));
            value.set_sensitive(true);
            value
        };
        if !self.placeholder {
            let whole = Zeroizing::new([self.one.before.as_bytes(), value, self.one.after.as_bytes()].concat());
            fields.insert(self.field.clone(), sensitive(&whole));
            return;
        }
        let Some(placeholder) = &self.held.planned.placeholder else { return };
        let old: Vec<HeaderValue> = fields.get_all(&self.field).iter().cloned().collect();
        fields.remove(&self.field);
        for own in old {
            let new = replaced(own.as_bytes(), placeholder, value).map(Zeroizing::new);
            fields.append(self.field.clone(), new.map_or(own, |new| sensitive(&new)));
        }
    }
}

/// A value is not to be had.
fn missing(name: &str, why: &str) -> Verdict {
    Verdict::Fail(format!(
        "the credential {name} is not to be had: {why}; a person outside sees more with: coffer credential test {name}"
    ))
}

/// A request as policy is asked about it; without its head only where it goes.
fn asked<'a>(target: &'a Target, head: Option<&'a request::Parts>) -> Request<'a> {
    Request {
        scheme: if target.tls { Scheme::Https } else { Scheme::Http },
        host: &target.host,
        port: target.port,
        method: head.map(|head| head.method.as_str()),
        path: head.map(|head| head.uri.path()),
        now: Timestamp::now(),
    }
}

fn stray_field(placeholders: &Striker, fields: &HeaderMap) -> Option<String> {
    fields.iter().find_map(|(name, value)| {
        placeholders.find(value.as_bytes()).or_else(|| placeholders.find(name.as_str().as_bytes()))
    })
}

impl Interceptor for Injector {
    fn name(&self) -> &'static str {
        "credentials"
    }

    fn request<'a>(&'a self, target: &'a Target, head: &'a mut request::Parts) -> Waiting<'a, Verdict> {
        Box::pin(self.put(target, head))
    }

    fn response(
        &self,
        target: &Target,
        request: &request::Parts,
        head: &mut response::Parts,
    ) -> Result<Option<Box<dyn Filter>>, Refusal> {
        let to = asked(target, None);
        let has = |held: &Held| held.has_value() && held.planned.credential.is_about(&to);
        if head.status == StatusCode::UNAUTHORIZED {
            self.credentials.iter().filter(|held| held.planned.grant.is_some()).for_each(|held| held.refuse(request));
        }
        if !self.credentials.iter().any(has) {
            return Ok(None);
        }
        mask::head(&self.values, head);
        Ok(Some(Box::new(mask::Masked::new(&self.values))))
    }

    fn tells(&self, tls: bool, host: &str, port: u16) -> Option<String> {
        let scheme = if tls { Scheme::Https } else { Scheme::Http };
        let to = Request { scheme, host, port, method: None, path: None, now: Timestamp::now() };
        let mut says = Vec::new();
        for held in &self.credentials {
            let Credential { name, purpose, expose, uses, .. } = &held.planned.credential;
            let Some(one) = uses.iter().find(|one| one.is_about(&to)) else { continue };
            let placeholder = match (expose, &held.planned.grant) {
                (Some(env), _) => format!("; ${env} holds its placeholder"),
                (None, Some(grant)) => format!("; ~/{} holds its placeholder", grant.sign_in.file),
                (None, None) => String::new(),
            };
            says.push(format!(
                "The credential {name} is put into {} outside, for {purpose:?}{placeholder}.\n",
                one.header
            ));
        }
        (!says.is_empty()).then(|| says.concat())
    }
}

/// A body in which no placeholder may stand.
struct Body {
    filter: Search,
    refusals: Vec<(String, Refusal)>,
}

impl Body {
    fn refused(&self, name: &str) -> Refusal {
        let known = self.refusals.iter().find(|(known, _)| known == name).map(|(_, refusal)| refusal.clone());
        known.unwrap_or_else(|| Refusal::new("placeholder", "the request holds the placeholder of a credential"))
    }
}

impl Filter for Body {
    fn data(&mut self, piece: bytes::Bytes) -> Result<bytes::Bytes, Refusal> {
        let mut out = Vec::with_capacity(piece.len());
        match self.filter.push(&piece, &mut out) {
            Ok(()) => Ok(out.into()),
            Err(found) => Err(self.refused(&found.0)),
        }
    }

    fn end(&mut self) -> Result<bytes::Bytes, Refusal> {
        Ok(self.filter.end().into())
    }

    fn trailers(&mut self, fields: &mut HeaderMap) -> Result<(), Refusal> {
        match stray_field(self.filter.striker(), fields) {
            Some(name) => Err(self.refused(&name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
