//! A private key of OpenSSH's that opens nothing (PROTOCOL.key of its sources: `openssh-key-v1`).

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::SigningKey;

use super::content::{TOKEN, fill};

/// Columns of a line.
const WIDTH: usize = 70;
/// What ssh-keygen fills up to, without a cipher.
const BLOCK: usize = 8;

/// A key as it stands in a file.
pub(super) struct SshKey {
    text: String,
    /// Which bytes of the decoded content are random.
    secret: Range<usize>,
}

impl SshKey {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What of its lines no other key has.
    pub(super) fn secret_parts(&self) -> impl Iterator<Item = &str> {
        // Characters that hold random bits alone.
        let secret = (self.secret.start * 4).div_ceil(3)..self.secret.end * 4 / 3;
        let lines = self.text.lines().filter(|line| !line.starts_with('-')).enumerate();
        lines.filter_map(move |(n, line)| {
            let at = |place: usize| place.saturating_sub(n * WIDTH).min(line.len());
            let part = &line[at(secret.start)..at(secret.end)];
            (part.len() >= TOKEN).then_some(part)
        })
    }
}

/// A new one. Whoever has it can sign for nobody: its public half is nowhere.
pub(super) fn make() -> rustix::io::Result<SshKey> {
    let (mut seed, mut check) = ([0; 32], [0; 4]);
    fill(&mut seed)?;
    fill(&mut check)?;
    let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();

    let mut public_blob = Vec::new();
    string(&mut public_blob, b"ssh-ed25519");
    string(&mut public_blob, &public);

    let mut private = [check, check].concat();
    string(&mut private, b"ssh-ed25519");
    string(&mut private, &public);
    let seed_at = private.len() + 4;
    string(&mut private, &[seed, public].concat());
    string(&mut private, b"deploy@prod");
    let padding: Vec<u8> = (1..).take(private.len().next_multiple_of(BLOCK) - private.len()).collect();
    private.extend(padding);

    let mut all = b"openssh-key-v1\0".to_vec();
    for text in [&b"none"[..], b"none", b""] {
        string(&mut all, text);
    }
    all.extend(1u32.to_be_bytes());
    string(&mut all, &public_blob);
    let secret = all.len() + 4 + seed_at..all.len() + 4 + seed_at + seed.len() + public.len();
    string(&mut all, &private);

    let base64 = BASE64_STANDARD.encode(&all);
    let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH)); // ASCII
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    Ok(SshKey { text, secret })
}

/// RFC 4251, section 5: `string`.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn ssh_keygen_reads_it() {
        let key = make().unwrap();
        assert!(key.secret_parts().count() >= 1);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, key.text()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        match Command::new("ssh-keygen").arg("-yf").arg(&file).output() {
            Ok(got) => {
                assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
                assert!(String::from_utf8_lossy(&got.stdout).starts_with("ssh-ed25519 "));
            }
            Err(_) => eprintln!("not proven on this machine: there is no ssh-keygen"),
        }
    }
}
