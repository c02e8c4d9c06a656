//! Where requests carry credentials.

use http::HeaderName;

/// The fields of a request that are there to carry credentials: of RFC 9110, sections 11.6.2 and 11.7.2, of RFC 6265,
/// section 4.2, and of the APIs of models and of forges.
const FIELDS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-goog-api-key", "api-key", "private-token"];

/// Whether a request's field is there to carry a credential.
pub fn is_credential(field: &HeaderName) -> bool {
    FIELDS.contains(&field.as_str())
}
