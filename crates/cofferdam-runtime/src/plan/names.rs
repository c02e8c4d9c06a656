//! How names become addresses inside: `resolv.conf(5)`, `nsswitch.conf(5)` and `hosts(5)`.
//!
//! The host's would lead to services that are not there, and tell about the person's networks.

use std::path::{Path, PathBuf};

use cofferdam_core::plan::Mount;

/// The gateway answers on every address, so also on this one. No `search`, which would multiply look-ups, and no options.
const RESOLV_CONF: &[u8] = b"nameserver 127.0.0.1\n";

/// The three files, each where it would be another than the host's.
pub(super) fn mounts() -> Vec<Mount> {
    let hostname = rustix::system::uname();
    let file = |path: &str, content: fn(&[u8], &[u8]) -> Vec<u8>| {
        // What is not there cannot be mounted at: then libraries do without, and ask 127.0.0.1 (resolv.conf(5)).
        let place = place(Path::new(path))?;
        let host = std::fs::read(&place).unwrap_or_default();
        let content = content(&host, hostname.nodename().to_bytes());
        (content != host).then(|| Mount::File { target: place.into(), content: content.into() })
    };
    [
        file("/etc/resolv.conf", |_, _| RESOLV_CONF.to_vec()),
        file("/etc/nsswitch.conf", |host, _| nsswitch(host)),
        file("/etc/hosts", |_, name| hosts(name)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where a file lies to which a link may lead, as /etc/resolv.conf into a /run that is another one inside. What it leads to
/// need not be there.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    let parent = path.parent()?;
    let leads_to = parent.join(path.read_link().ok()?);
    let real = leads_to.parent()?.canonicalize().unwrap_or_else(|_| leads_to.parent().unwrap_or(parent).to_owned());
    Some(real.join(leads_to.file_name()?))
}

/// The host's, with files and DNS as the only sources of hosts: others ask daemons that are not there.
fn nsswitch(host: &[u8]) -> Vec<u8> {
    let is_hosts = |line: &&[u8]| line.trim_ascii_start().starts_with(b"hosts:");
    let sources = |line: &[u8]| line.split(|b| *b == b':').nth(1).unwrap_or_default().to_vec();
    let plain = |line: &[u8]| {
        sources(line).split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).eq([&b"files"[..], b"dns"])
    };
    let lines: Vec<&[u8]> = host.split(|b| *b == b'\n').collect();
    if lines.iter().filter(|line| is_hosts(line)).count() == 1 && lines.iter().filter(|l| is_hosts(l)).all(|l| plain(l))
    {
        return host.to_vec();
    }
    let mut text = b"hosts: files dns\n".to_vec();
    for line in lines.iter().filter(|line| !is_hosts(line) && !line.is_empty()) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

/// This machine, by its own two names.
fn hosts(name: &[u8]) -> Vec<u8> {
    let mut text = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_vec();
    let is_name = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if is_name && name != b"localhost" {
        text.extend_from_slice(&[b"127.0.1.1 ", name, b"\n"].concat());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_dns_know_hosts() {
        let host = b"passwd: files systemd\nhosts:  mymachines resolve [!UNAVAIL=return] files myhostname dns\n# end";
        assert_eq!(nsswitch(host), b"hosts: files dns\npasswd: files systemd\n# end\n");
        let plain = b"passwd: files\nhosts:\t\tfiles  dns\n\nnetworks: files\n";
        assert_eq!(nsswitch(plain), plain);
        assert_eq!(nsswitch(b""), b"hosts: files dns\n");
        assert_eq!(nsswitch(b"hosts: files dns\nhosts: mdns\n"), b"hosts: files dns\n");
    }

    #[test]
    fn the_machines_name_is_its_own() {
        assert!(hosts(b"box").ends_with(b"ip6-loopback\n127.0.1.1 box\n"));
        for name in [&b"localhost"[..], b"", b"a b", b"x\n203.0.113.1 bank.example"] {
            assert!(hosts(name).ends_with(b"ip6-loopback\n"), "{name:?}");
        }
    }

    #[test]
    fn a_link_is_followed_to_where_it_leads_even_if_nothing_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().canonicalize().unwrap().join(path);
        std::fs::create_dir_all(at("run/resolve")).unwrap();
        std::fs::create_dir_all(at("etc")).unwrap();
        std::os::unix::fs::symlink("../run/resolve/stub.conf", at("etc/resolv.conf")).unwrap();
        assert_eq!(place(&at("etc/resolv.conf")), Some(at("run/resolve/stub.conf")));
        std::fs::write(at("run/resolve/stub.conf"), "").unwrap();
        assert_eq!(place(&at("etc/resolv.conf")), Some(at("run/resolve/stub.conf")));
        assert_eq!(place(&at("etc/none")), None);
    }
}
