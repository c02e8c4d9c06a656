//! Where programs look up whom to trust: inside, all of these places name the run's authority as well.
//!
//! TLS ends at the gateway, with certificates of that authority. It is made when the plan stands already, so that the plan has
//! a [`Mount::Bundle`] wherever its certificate belongs.

mod browsers;
pub(super) mod java;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{EnclosurePlan, Form, Mount};
use cofferdam_enclosure::open_regular;

use crate::plan::{Host, INSIDE};

/// Where systems keep all certificates that they trust in one file: Debian and Arch, Fedora twice, SUSE, Alpine. What several
/// of these lead to is one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables that name a file of all certificates, in the place of what a program brought along or was built with: OpenSSL and
/// Go, requests, pip, curl, git, cargo, AWS, gRPC, Deno, Nix, bundler.
const VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
    "BUNDLE_SSL_CA_CERT",
];

/// The variable that names a file of certificates besides those that Node.js was built with.
const NODE: &str = "NODE_EXTRA_CA_CERTS";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct TrustStores {
    /// To make when /etc is there.
    pub(super) mounts: Vec<Mount>,
    /// Variables that lead programs to them.
    pub(super) variables: Vec<(&'static str, Bytes)>,
    /// Files of the host by which servers are verified.
    pub(super) roots: Vec<Bytes>,
}

/// Looks around on the host.
pub(super) fn discover(host: &Host, notes: &mut Vec<String>) -> TrustStores {
    let own = |name: &str| Bytes::from(format!("{INSIDE}/{name}").as_str());
    let authority = own("ca.pem");
    let mut stores = TrustStores::default();
    stores.bundle(authority.clone(), None);
    let mut all = authority.clone();
    let mut seen = BTreeSet::new();
    for path in BUNDLES.iter().map(Path::new) {
        // Over what a link leads to: all that lead there see it.
        let Some(real) = path.canonicalize().ok().filter(|real| real.is_file()) else { continue };
        if seen.is_empty() {
            all = path.into();
            stores.roots.push(real.as_path().into());
        }
        if seen.insert(real.clone()) {
            stores.bundle(real.as_path().into(), Some(real.as_path().into()));
        }
    }
    if let Some(named) = named(host, &seen, notes) {
        stores.roots = vec![named.path.as_path().into()];
        if named.shown {
            all = own("certificates.pem");
            stores.bundle(all.clone(), Some(named.path.into()));
        }
    }
    stores.variables = VARIABLES.iter().map(|name| (*name, all.clone())).collect();
    stores.variables.push((NODE, authority));
    stores.mounts.extend(browsers::mounts(notes));
    stores
}

/// The file that the person's programs trust.
struct Named {
    path: PathBuf,
    /// Whether it may be seen inside.
    shown: bool,
}

/// What `SSL_CERT_FILE` names, where that is another file than the system's.
fn named(host: &Host, system: &BTreeSet<PathBuf>, notes: &mut Vec<String>) -> Option<Named> {
    let variable = host.var("SSL_CERT_FILE").filter(|value| !value.0.is_empty())?;
    let path = host.cwd.join(variable.as_path()).canonicalize().unwrap_or_else(|_| variable.as_path().to_owned());
    if system.contains(&path) {
        return None;
    }
    let name = host.short(&path).display().to_string();
    match read(&path) {
        Ok(text) => {
            let shown = memchr::memmem::find(&text, b"PRIVATE KEY").is_none();
            if !shown {
                notes.push(format!("{name} (SSL_CERT_FILE) stays outside: it holds a private key"));
            }
            Some(Named { path, shown })
        }
        Err(e) => {
            notes.push(format!("{name} (SSL_CERT_FILE) cannot be read, the system's certificates count: {e}"));
            None
        }
    }
}

/// A regular file that is not too large.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    if file.metadata()?.len() > EnclosurePlan::LARGEST_BUNDLE {
        return Err(std::io::Error::other("it is larger than 16 MiB"));
    }
    let mut text = Vec::new();
    file.take(EnclosurePlan::LARGEST_BUNDLE).read_to_end(&mut text)?;
    Ok(text)
}

impl TrustStores {
    fn bundle(&mut self, target: Bytes, source: Option<Bytes>) {
        self.mounts.push(Mount::Bundle { target, source, form: Form::Pem });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path, named: &Path) -> Host {
        Host {
            env: vec![("SSL_CERT_FILE".into(), named.into())],
            home: home.to_owned(),
            cwd: home.to_owned(),
            uid: 1000,
            binary: PathBuf::new(),
        }
    }

    fn variable(stores: &TrustStores, name: &str) -> PathBuf {
        stores.variables.iter().find(|(n, _)| *n == name).unwrap().1.as_path().to_owned()
    }

    #[test]
    fn the_persons_own_certificates_count_and_a_key_among_them_stays_outside() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let roots = home.join("roots.pem");
        std::fs::write(&roots, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let mut notes = Vec::new();
        let stores = discover(&host(&home, Path::new("roots.pem")), &mut notes);
        assert_eq!(stores.roots, [Bytes::from(roots.as_path())]);
        assert_eq!(variable(&stores, "SSL_CERT_FILE"), Path::new("/run/coffer/certificates.pem"));
        assert_eq!(variable(&stores, "NODE_EXTRA_CA_CERTS"), Path::new("/run/coffer/ca.pem"));
        assert!(stores.mounts.contains(&Mount::Bundle {
            target: "/run/coffer/certificates.pem".into(),
            source: Some(roots.as_path().into()),
            form: Form::Pem,
        }));
        assert!(notes.is_empty(), "{notes:?}");

        std::fs::write(&roots, "-----BEGIN EC PRIVATE KEY-----\n").unwrap();
        let stores = discover(&host(&home, &roots), &mut notes);
        assert_eq!(stores.roots, [Bytes::from(roots.as_path())]);
        assert_ne!(variable(&stores, "SSL_CERT_FILE"), Path::new("/run/coffer/certificates.pem"));
        assert_eq!(notes, ["~/roots.pem (SSL_CERT_FILE) stays outside: it holds a private key"]);
    }

    #[test]
    fn what_is_no_file_is_neither_trusted_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let pipe = home.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let mut notes = Vec::new();
        let stores = discover(&host(&home, &pipe), &mut notes);
        assert!(!stores.roots.contains(&Bytes::from(pipe.as_path())));
        assert!(notes[0].contains("~/pipe (SSL_CERT_FILE) cannot be read"), "{notes:?}");
    }
}
