//! Java virtual machines, each of which trusts what a file in its own directory holds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{Access, Form, Mount};
use cofferdam_enclosure::JavaKeystore;

use crate::plan::Host;

/// Where distributions install them, one in a directory.
const INSTALLATIONS: &[&str] = &["/usr/lib/jvm", "/usr/lib64/jvm", "/usr/java", "/opt"];

/// Where in an installation the file is: since Java 9, and in a JDK and a JRE before. `jssecacerts` comes first where it is
/// there ("JSSE Reference Guide").
const STORES: &[&str] =
    &["lib/security/jssecacerts", "lib/security/cacerts", "jre/lib/security/jssecacerts", "jre/lib/security/cacerts"];

/// What the installations that `view` shows trust, each with the run's authority. Where that is no JKS (a PKCS #12, as Java
/// 18 and later allow), or a broken one, the certificates of `system`, which is PEM, stand in its place.
pub(in crate::plan) fn mounts(
    host: &Host,
    view: &[Mount],
    system: Option<&Bytes>,
    notes: &mut Vec<String>,
) -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    let mut mounts = Vec::new();
    for home in installations(host) {
        for store in STORES {
            // Distributions link all of theirs to one.
            let Ok(real) = home.join(store).canonicalize() else { continue };
            if !seen.insert(real.clone()) || !is_shown(view, &real) {
                continue;
            }
            let source = match taken_over(&real) {
                Ok(()) => Some(real.as_path().into()),
                Err(e) => {
                    let name = host.short(&real).display().to_string();
                    notes.push(format!("Java trusts the system's certificates inside, not those of {name}: {e}"));
                    system.cloned()
                }
            };
            mounts.push(Mount::Bundle { target: real.into(), source, form: Form::JavaKeystore });
        }
    }
    mounts
}

fn taken_over(store: &Path) -> io::Result<()> {
    super::read(store).and_then(JavaKeystore::read).map(drop)
}

/// Whether a file of the host's is in the view as it is outside: what was mounted last at or above it counts.
fn is_shown(view: &[Mount], file: &Path) -> bool {
    let last = view.iter().rev().find(|mount| file.starts_with(mount.target().as_path()));
    matches!(last, Some(Mount::Bind { source, target, access: Access::ReadOnly }) if source == target)
}

/// Those of the system, and those that `JAVA_HOME` and `PATH` lead to.
fn installations(host: &Host) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for directory in INSTALLATIONS.iter().map(Path::new) {
        all.extend(directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    all.extend(host.var("JAVA_HOME").map(|home| host.cwd.join(home.as_path())));
    let search = host.var("PATH").map_or(&[][..], |value| value.as_ref());
    for directory in search.split(|byte| *byte == b':').filter(|directory| directory.starts_with(b"/")) {
        let program = Path::new(OsStr::from_bytes(directory)).join("java").canonicalize();
        // …/bin/java
        all.extend(program.ok().and_then(|program| program.ancestors().nth(2).map(Path::to_owned)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path, variables: &[(&str, &Path)]) -> Host {
        Host {
            env: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            home: home.to_owned(),
            cwd: home.to_owned(),
            uid: 1000,
            binary: PathBuf::new(),
        }
    }

    fn bind(path: &Path, access: Access) -> Mount {
        Mount::Bind { source: path.into(), target: path.into(), access }
    }

    /// A file of the view in which a machine below `home` has its certificates, and what stands there inside.
    fn shown(home: &Path, store: &Path, view: &[Mount], variables: &[(&str, &Path)]) -> (Vec<Mount>, Vec<String>) {
        let mut notes = Vec::new();
        let mut mounts = mounts(&host(home, variables), view, Some(&"/system.pem".into()), &mut notes);
        mounts.retain(|mount| mount.target().as_path() == store);
        notes.retain(|note| note.contains("~/"));
        (mounts, notes)
    }

    #[test]
    fn a_machine_of_the_persons_gets_the_authority_where_it_is_shown_and_only_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let (machine, program) = (home.join("jdk"), home.join("jdk/bin/java"));
        let store = machine.join("lib/security/cacerts");
        for file in [&store, &program] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        std::fs::write(&program, "").unwrap();
        let empty = [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 0][..], &[0; 20]].concat();
        std::fs::write(&store, empty).unwrap();
        std::os::unix::fs::symlink(&program, home.join("java")).unwrap();
        let wanted = |source: &Path| Mount::Bundle {
            target: store.as_path().into(),
            source: Some(source.into()),
            form: Form::JavaKeystore,
        };
        let view = [bind(&home, Access::ReadWrite), bind(&machine, Access::ReadOnly)];
        for variables in [("JAVA_HOME", machine.as_path()), ("PATH", home.as_path()), ("JAVA_HOME", Path::new("jdk"))] {
            assert_eq!(shown(&home, &store, &view, &[variables]), (vec![wanted(&store)], vec![]));
        }
        for view in [
            &view[..1],
            &[&view[..], &[Mount::Hidden { target: store.parent().unwrap().into(), directory: true }]].concat(),
        ] {
            assert_eq!(shown(&home, &store, view, &[("JAVA_HOME", &machine)]).0, []);
        }

        // What is no store of certificates alone, and what is never read to its end.
        for broken in [&b"0\x82"[..], &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]] {
            std::fs::write(&store, broken).unwrap();
            let (mounts, notes) = shown(&home, &store, &view, &[("JAVA_HOME", &machine)]);
            assert_eq!(mounts, [wanted(Path::new("/system.pem"))]);
            assert!(notes[0].contains("not those of ~/jdk/lib/security/cacerts"), "{notes:?}");
        }
        std::fs::remove_file(&store).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &store, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(shown(&home, &store, &view, &[("JAVA_HOME", &machine)]).0, [wanted(Path::new("/system.pem"))]);
    }
}
