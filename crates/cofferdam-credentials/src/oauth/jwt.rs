//! Tokens that are JWTs (RFC 7519): what a client reads of them, and what stands for one inside.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::pointer;

/// Bytes of what stands in the place of a signature: as long as an HMAC-SHA-256.
const SIGNATURE: usize = 32;

/// The claims of a token, where it is a JWT in compact form. Nothing is verified: the issuer alone does that.
pub(super) fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (header, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let object = |part: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
    };
    object(header)?;
    object(payload)
}

/// When it ends (`exp`), in milliseconds since 1970.
pub(super) fn expires(token: &str) -> Option<i64> {
    claims(token)?.get("exp")?.as_i64()?.checked_mul(1000)
}

/// A token with these of the claims of another one, that ends at `until` (milliseconds since 1970). It is signed by nobody.
pub(super) fn like(token: &str, keep: &[String], until: i64, name: &str, random: &[u8; SIGNATURE]) -> Option<String> {
    let real = Value::Object(claims(token)?);
    let mut own = json!({ "exp": until.div_euclid(1000), "jti": format!("coffer-placeholder-{name}") });
    keep.iter().for_each(|claim| pointer::copy(&real, &mut own, claim));
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    Some(format!("{}.{}.{}", part(&header), part(&own), BASE64_URL_SAFE_NO_PAD.encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part("{\"alg\":\"RS256\"}"), part(&claims.to_string()), part("its signature"))
    }

    #[test]
    fn only_what_is_read_of_a_token_stands_in_its_place() {
        let real = token(
            &json!({"exp": 1_000, "email": "me@example.com", "sub": "u1", "https://x": {"plan": "pro", "org": "o"}}),
        );
        assert_eq!(expires(&real), Some(1_000_000));
        let keep = ["/https:~1~1x/plan".to_owned(), "/absent".to_owned()];
        let like = like(&real, &keep, 5_000_999, "codex", &[7; 32]).unwrap();
        let own = Value::Object(claims(&like).unwrap());
        assert_eq!(own, json!({"exp": 5_000, "jti": "coffer-placeholder-codex", "https://x": {"plan": "pro"}}));
        assert!(!like.contains("aXRzIHNpZ25hdHVyZQ"), "its signature stays outside");
    }

    #[test]
    fn what_is_none_has_no_claims() {
        for text in ["", "a.b.c", "sk-ant-oat01-fake", "eyJhIjoxfQ.eyJiIjoyfQ", "eyJhIjoxfQ.W10.x", "e30.e30.x.y"] {
            assert!(claims(text).is_none(), "{text}");
            assert!(like(text, &[], 0, "x", &[0; 32]).is_none());
        }
    }
}
