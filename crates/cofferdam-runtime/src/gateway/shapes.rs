//! Strings that have the shape of a credential, by their published prefixes.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A prefix that its issuer gives to credentials, and what follows it at least.
struct Shape {
    prefix: &'static str,
    /// Fewest characters after the prefix.
    rest: usize,
    /// Which characters these may be.
    alphabet: fn(u8) -> bool,
    name: &'static str,
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn capital(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn any(_: u8) -> bool {
    true
}

/// Sources: AWS IAM "unique identifiers"; GitHub "token formats"; GitLab "token overview"; Slack "token types"; and the
/// prefixes that Anthropic, OpenAI, Google, npm, PyPI and Stripe print in their own documentation. PEM: RFC 7468.
const SHAPES: &[Shape] = &[
    Shape { prefix: "AKIA", rest: 16, alphabet: capital, name: "an AWS access key" },
    Shape { prefix: "ghp_", rest: 36, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "gho_", rest: 36, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "ghs_", rest: 36, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "ghu_", rest: 36, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "ghr_", rest: 36, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "github_pat_", rest: 60, alphabet: word, name: "a GitHub token" },
    Shape { prefix: "glpat-", rest: 20, alphabet: word, name: "a GitLab token" },
    Shape { prefix: "xoxb-", rest: 24, alphabet: word, name: "a Slack token" },
    Shape { prefix: "xoxp-", rest: 24, alphabet: word, name: "a Slack token" },
    Shape { prefix: "sk-ant-", rest: 40, alphabet: word, name: "an Anthropic key" },
    Shape { prefix: "sk-proj-", rest: 40, alphabet: word, name: "an OpenAI key" },
    Shape { prefix: "AIza", rest: 35, alphabet: word, name: "a Google key" },
    Shape { prefix: "npm_", rest: 36, alphabet: word, name: "an npm token" },
    Shape { prefix: "pypi-AgE", rest: 40, alphabet: word, name: "a PyPI token" },
    Shape { prefix: "sk_live_", rest: 24, alphabet: word, name: "a Stripe key" },
    Shape { prefix: "-----BEGIN OPENSSH PRIVATE KEY-----", rest: 16, alphabet: any, name: "a private key" },
    Shape { prefix: "-----BEGIN RSA PRIVATE KEY-----", rest: 16, alphabet: any, name: "a private key" },
    Shape { prefix: "-----BEGIN EC PRIVATE KEY-----", rest: 16, alphabet: any, name: "a private key" },
    Shape { prefix: "-----BEGIN PRIVATE KEY-----", rest: 16, alphabet: any, name: "a private key" },
];

static FINDERS: LazyLock<Vec<Finder<'static>>> =
    LazyLock::new(|| SHAPES.iter().map(|shape| Finder::new(shape.prefix)).collect());

/// What a look at bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A whole one.
    Found(&'static str),
    /// From here on the bytes may be the beginning of one; all of them where there is none.
    Open(usize),
}

/// Looks for the shapes.
pub(crate) fn look(bytes: &[u8]) -> Look {
    let mut open = bytes.len();
    for (shape, finder) in SHAPES.iter().zip(FINDERS.iter()) {
        for at in finder.find_iter(bytes) {
            // In the middle of a word it is part of something else (base64, an identifier).
            if at > 0 && word(bytes[at - 1]) {
                continue;
            }
            let rest = &bytes[at + shape.prefix.len()..];
            let run = rest.iter().take(shape.rest).take_while(|b| (shape.alphabet)(**b)).count();
            if run == shape.rest {
                return Look::Found(shape.name);
            }
            if run == rest.len() {
                open = open.min(at);
            }
        }
        let cut = (1..shape.prefix.len().min(bytes.len() + 1))
            .rev()
            .find(|length| bytes.ends_with(&shape.prefix.as_bytes()[..*length]));
        open = open.min(bytes.len() - cut.unwrap_or(0));
    }
    Look::Open(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_found_and_ordinary_text_is_not() {
        let token = format!("ghp_{}", "a1B2".repeat(9));
        assert_eq!(look(format!("x={token}").as_bytes()), Look::Found("a GitHub token"));
        assert_eq!(look(b"key AKIAABCDEFGHIJKLMNOP."), Look::Found("an AWS access key"));
        assert_eq!(look(b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk="), Look::Found("a private key"));
        for text in
            ["ghp_short.", "see AKIA in the manual ", "notAKIAABCDEFGHIJKLMNOPQ ", "-----BEGIN CERTIFICATE-----\n"]
        {
            assert_eq!(look(text.as_bytes()), Look::Open(text.len()), "{text}");
        }
    }

    #[test]
    fn what_may_become_one_stays_open() {
        assert_eq!(look(b"x ghp_abc"), Look::Open(2));
        assert_eq!(look(b"x gh"), Look::Open(2));
        assert_eq!(look(b"x -----BEGIN RSA"), Look::Open(2));
    }
}
