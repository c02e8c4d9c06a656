//! The system's part of the view: what every program needs of the machine, and nothing that is somebody's.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cofferdam_core::plan::{Access, Mount};
use cofferdam_core::{Bytes, RunId};

use crate::plan::{Host, INSIDE};

/// Top-level directories that hold programs and their configuration. What is not named here does not exist inside.
const DIRECTORIES: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/snap",
    "/sys/devices/system",
    "/var/lib/dpkg",
];

pub(super) fn mounts(host: &Host) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for dir in DIRECTORIES {
        let path = Path::new(dir);
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_symlink() {
            if let Ok(text) = path.read_link() {
                mounts.push(Mount::Symlink { target: path.into(), text: text.into() });
            }
        } else if meta.is_dir() {
            mounts.push(Mount::Bind { source: path.into(), target: path.into(), access: Access::ReadOnly });
        }
    }
    if host.uid == 0 {
        for dir in ["/etc", "/opt", "/usr/local/etc"] {
            root_only(Path::new(dir), &mut mounts);
        }
    }
    // A socket is connected to through a read-only mount too, and this daemon builds with the host's network.
    mounts.push(Mount::Hidden { target: "/nix/var/nix/daemon-socket".into(), directory: true });
    mounts.push(Mount::Tmpfs { target: "/tmp".into(), mode: 0o1777 });
    mounts.push(Mount::Tmpfs { target: "/run".into(), mode: 0o755 });
    // No link to /tmp: a project or a toolchain that lies in it has its own path inside, by getcwd(2) too.
    mounts.push(Mount::Tmpfs { target: "/var/tmp".into(), mode: 0o1777 });
    mounts.push(Mount::Symlink { target: "/var/run".into(), text: "/run".into() });
    mounts
}

/// Hides what below `directory` the world may not read. An enclosure of root's own still has root's uid outside, so that
/// file modes do not keep it out; what it cannot list it cannot read either.
fn root_only(directory: &Path, mounts: &mut Vec<Mount>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let closed = meta.mode() & if meta.is_dir() { 0o001 } else { 0o004 } == 0;
        if closed && !meta.is_symlink() {
            mounts.push(Mount::Hidden { target: entry.path().into(), directory: meta.is_dir() });
        } else if meta.is_dir() {
            root_only(&entry.path(), mounts);
        }
    }
}

/// The run's own files inside: this program (for `coffer why` and the probes of `coffer doctor`), a note for the
/// agent, the person's git identity.
pub(super) fn own_files(host: &Host, run: &RunId, git: Option<&str>, network: &str) -> Vec<Mount> {
    let at = |name: &str| Bytes::from(format!("{INSIDE}/{name}").as_str());
    let mut files = vec![
        Mount::Bind { source: host.binary.as_path().into(), target: at("bin/coffer"), access: Access::ReadOnly },
        Mount::File { target: at("README"), content: note(run, network).as_str().into() },
    ];
    if let Some(git) = git {
        files.push(Mount::File { target: at("gitconfig"), content: git.into() });
    }
    files
}

fn note(run: &RunId, network: &str) -> String {
    format!(
        "You are in a Cofferdam enclosure (run {run}).\n\
         The project is a copy-on-write view: what you change is reviewed by a person, then promoted or thrown away.\n\
         The home is fresh and kept for this project; nothing of the person's is in it.\n\
         Credentials, keys and sockets of the host are not here. That is the design: do not try to get around it.\n\
         {network}"
    )
}
