//! Heads as they are recorded: bounded, and without credentials.

use cofferdam_exchange::{cut, is_credential};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Most fields of a head.
const FIELDS: usize = 100;
/// Most bytes of a field's value.
const VALUE: usize = 2 * 1024;
/// Most bytes of a URL.
const URL: usize = 8 * 1024;

/// The fields of a head, in their order.
pub(crate) fn fields(head: &HeaderMap) -> Vec<(String, String)> {
    head.iter().take(FIELDS).map(|(name, value)| (name.as_str().to_owned(), recorded(name, value))).collect()
}

/// A URL.
pub(crate) fn url(text: &str) -> String {
    cut(text, URL)
}

fn recorded(name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    if !is_credential(name) && name != SET_COOKIE {
        return cut(&text, VALUE);
    }
    let scheme = match text.split_once(' ') {
        Some((scheme, _)) if name.as_str().ends_with("authorization") && is_token(scheme) => scheme,
        _ => "",
    };
    let rest = value.len() - scheme.len() - usize::from(!scheme.is_empty());
    let space = if scheme.is_empty() { "" } else { " " };
    format!("{scheme}{space}({rest} bytes, not recorded)")
}

/// A scheme's name; what is longer than any may be a credential itself.
fn is_token(text: &str) -> bool {
    (1..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_counted_and_not_recorded() {
        let head: HeaderMap = [
            ("authorization", "Bearer sk-very-secret"),
            ("proxy-authorization", "sk-very-secret"),
            ("cookie", "a=very secret"),
            ("x-api-key", "sk very-secret"),
            ("private-token", "very-secret"),
            ("set-cookie", "a=very secret"),
            ("x-other", "seen"),
        ]
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .into_iter()
        .collect();
        let recorded = fields(&head);
        assert!(!format!("{recorded:?}").contains("secret"), "{recorded:?}");
        let values: Vec<&str> = recorded.iter().map(|(_, value)| value.as_str()).collect();
        let not = |n: usize| format!("({n} bytes, not recorded)");
        assert_eq!(
            values,
            [&*format!("Bearer {}", not(14)), &*not(14), &*not(13), &*not(14), &*not(11), &*not(13), "seen"]
        );
    }

    #[test]
    fn heads_are_bounded() {
        let mut head = HeaderMap::new();
        for n in 0..200 {
            let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            head.insert(name, HeaderValue::from_str(&"v".repeat(5_000)).unwrap());
        }
        let recorded = fields(&head);
        assert_eq!(recorded.len(), FIELDS);
        assert_eq!(recorded[0], ("x-0".to_owned(), format!("{}…", "v".repeat(VALUE))));
    }
}
