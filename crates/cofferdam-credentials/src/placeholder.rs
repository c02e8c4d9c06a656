//! What stands for a credential inside.

use std::io;

use cofferdam_core::bytes::hex;
use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes of a placeholder: nobody guesses one to learn which credentials a run has.
const RANDOM: usize = 12;

/// A new placeholder for the credential of this name. Of `token68` characters (RFC 9110, section 11.2), so that it can
/// stand wherever a token can.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn placeholder(name: &str) -> io::Result<String> {
    Ok(format!("coffer-placeholder-{name}-{}", random_name()?))
}

/// A word that nobody guesses.
pub(crate) fn random_name() -> io::Result<String> {
    Ok(hex(&random::<RANDOM>()?))
}

/// Random bytes of the system's.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut random = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut random[filled..], GetRandomFlags::empty())?;
    }
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_can_stand_where_a_token_can() {
        let (a, b) = (placeholder("git-hub_1.x").unwrap(), placeholder("git-hub_1.x").unwrap());
        assert!(a != b && a.starts_with("coffer-placeholder-git-hub_1.x-"), "{a}");
        assert!(a.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)), "{a}");
    }
}
