//! Toolchains that lie in the person's home: discovered from `PATH`, a table of places, and the symbolic links and
//! interpreters that they lead to.

mod configuration;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use cofferdam_core::plan::{Access, Mount};

use self::configuration::Share;
pub(super) use self::configuration::{read as read_configuration, read_up_to};
pub use self::table::Toolchain;
use self::table::table;
use crate::plan::Host;
use crate::plan::project::KEEPS_SECRETS;

/// Directories of a home that hold many things: never exposed as a whole because one tool lies in them.
const SHARED: &[&str] = &["", ".local", ".local/share", ".local/lib", ".config", ".cache", ".var", "snap", "Library"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Paths to show read-only.
    read_only: BTreeSet<PathBuf>,
    /// Directories to lay a writable layer over.
    caches: BTreeSet<PathBuf>,
    /// Files of which only a part is seen, with that part.
    parts: BTreeMap<PathBuf, Vec<u8>>,
    /// Files with a credential below a path that is shown.
    hidden: BTreeSet<PathBuf>,
    /// Variables to pass because they name such places.
    pub(super) variables: Vec<String>,
}

/// Looks at the host.
pub(super) fn discover(host: &Host, root: &Path, notes: &mut Vec<String>) -> Result<Found, serde_json::Error> {
    let table = table()?;
    let mut found = Found::default();
    for entry in &table.toolchain {
        let by_name = entry.env.as_ref().filter(|name| host.var(name).is_some());
        let base = entry.base(host);
        if !base.is_absolute() || base.symlink_metadata().is_err() || keeps_secrets(host, &base) {
            continue;
        }
        let passed = host.env.iter().filter(|(name, _)| entry.pass.iter().any(|p| configuration::fits(&name.0, p)));
        found
            .variables
            .extend(by_name.cloned().into_iter().chain(passed.map(|(n, _)| n.as_path().display().to_string())));
        for part in &entry.read_only {
            found.show(&base.join(part));
        }
        for part in &entry.caches {
            let path = plain(&base.join(part));
            if path.is_dir() {
                found.caches.insert(path);
            }
        }
        for part in &entry.clean {
            found.configure(host, &plain(&base.join(part)), &entry.keep, notes);
        }
        for pattern in &entry.secrets {
            found.hide(host, &base, pattern, notes);
        }
    }
    let search = host.var("PATH").map_or(&[][..], |v| v.as_ref());
    for dir in search.split(|b| *b == b':').map(|d| Path::new(OsStr::from_bytes(d))) {
        found.programs(host, root, dir);
    }
    for interpreter in [".venv/bin/python", "venv/bin/python", "env/bin/python"] {
        found.interpreter(host, root, &root.join(interpreter));
    }
    // Where one shown directory lies in another, the outer one is enough.
    let all: Vec<PathBuf> = found.read_only.iter().cloned().collect();
    found.read_only.retain(|p| !all.iter().any(|o| o != p && p.starts_with(o)));
    for package in all {
        for pattern in configuration::OF_PACKAGES {
            found.hide(host, &package, pattern, notes);
        }
    }
    Ok(found)
}

/// The configuration files that come in only without credentials: where they lie on this host, if they are there.
pub(crate) fn clean_configuration(host: &Host) -> Vec<PathBuf> {
    // A table that does not read ends the run where it is resolved.
    let Ok(table) = table() else { return Vec::new() };
    table
        .toolchain
        .iter()
        .flat_map(|entry| entry.clean.iter().map(|part| entry.base(host).join(part)))
        .filter(|path| path.is_absolute() && path.exists())
        .collect()
}

impl Found {
    fn show(&mut self, path: &Path) {
        let path = plain(path);
        if path.exists() {
            self.read_only.insert(path);
        }
    }

    /// A file of configuration: all of it, a part, or nothing.
    fn configure(&mut self, host: &Host, path: &Path, keep: &[String], notes: &mut Vec<String>) {
        let Some(text) = configuration::read(path) else { return };
        let name = host.short(path).display().to_string();
        match configuration::share(&text, keep) {
            Share::Whole => self.show(path),
            Share::Part { content, dropped } => {
                notes.push(format!("of {name} this stays outside: {}", dropped.join(", ")));
                self.parts.insert(path.to_owned(), content);
            }
            Share::Nothing(why) => notes.push(format!(
                "{name} stays outside: {why} (put what is not for the enclosure into a file of its own)"
            )),
        }
    }

    /// Hides the files that match where they hold a credential, or are too large to tell.
    fn hide(&mut self, host: &Host, base: &Path, pattern: &str, notes: &mut Vec<String>) {
        for path in configuration::matching(base, pattern) {
            let clean = configuration::read(&path).is_some_and(|text| !configuration::holds_secret(&text));
            if !clean && self.hidden.insert(path.clone()) {
                notes.push(format!("{} is hidden: it holds a token", host.short(&path).display()));
            }
        }
    }

    fn covers(&self, path: &Path) -> bool {
        self.read_only.iter().chain(&self.caches).any(|p| path.starts_with(p))
    }

    /// A directory of `PATH`: its programs, and what they lead to.
    fn programs(&mut self, host: &Host, root: &Path, dir: &Path) {
        let visible = |path: &Path| !path.starts_with(&host.home) && in_system(path);
        if !dir.is_absolute() || visible(dir) || dir.starts_with(root) {
            return;
        }
        // Shims are links to a program that may lie anywhere; what they are beside is shown already.
        let shims = self.covers(dir);
        let Ok(real) = dir.canonicalize() else { return };
        if keeps_secrets(host, &real) || SHARED.iter().any(|s| real == host.home.join(s)) {
            return;
        }
        let Ok(entries) = real.read_dir() else { return };
        if !shims {
            self.read_only.insert(real.clone());
            if real != dir {
                self.read_only.insert(dir.to_owned());
            }
            self.environment(&real);
        }
        for entry in entries.flatten().filter(|e| !shims || e.file_type().is_ok_and(|t| t.is_symlink())) {
            self.follow(host, root, &entry.path());
        }
    }

    /// Shows what the programs of a virtual environment need beside their directory `bin` (PEP 405): its own parts alone, as
    /// somebody's project may lie beside them.
    fn environment(&mut self, bin: &Path) {
        let Some(prefix) = bin.parent().filter(|p| p.join("pyvenv.cfg").is_file()) else { return };
        for part in ["pyvenv.cfg", "lib", "lib64"] {
            self.show(&prefix.join(part));
        }
    }

    /// Shows the interpreter of a virtual environment in the project. The link is the word of a repository, which may be
    /// hostile: it brings in an installation of Python and nothing else that it points to.
    fn interpreter(&mut self, host: &Host, root: &Path, link: &Path) {
        if let Ok(real) = link.canonicalize()
            && is_python_installation(&real)
        {
            self.package_of(host, root, &real);
        }
    }

    /// Shows what a program needs beyond itself: where its link leads, where its interpreter lies.
    fn follow(&mut self, host: &Host, root: &Path, program: &Path) {
        let Ok(real) = program.canonicalize() else { return };
        if real != program {
            self.package_of(host, root, &real);
        }
        if !real.is_file() {
            return; // opening a FIFO would wait for ever
        }
        let mut head = [0u8; 256];
        let Ok(got) = std::fs::File::open(&real).and_then(|mut f| f.read(&mut head)) else { return };
        let Some(line) = head[..got].strip_prefix(b"#!").and_then(|h| h.split(|b| *b == b'\n').next()) else { return };
        let interpreter = line.trim_ascii().split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        if interpreter.is_absolute() && !self.covers(interpreter) {
            self.package_of(host, root, interpreter);
            if let Ok(real) = interpreter.canonicalize() {
                self.package_of(host, root, &real);
            }
        }
    }

    /// Shows the package that a file belongs to: `P` for `P/bin/tool`, all of a `node_modules` (a package finds others beside
    /// itself), else the file's directory; of a project only the file itself.
    fn package_of(&mut self, host: &Host, root: &Path, file: &Path) {
        let outside_view = file.starts_with(&host.home) || !in_system(file);
        if !outside_view || file.starts_with(root) || self.covers(file) || keeps_secrets(host, file) {
            return;
        }
        let Some(dir) = file.parent() else { return };
        let modules = dir.ancestors().filter(|above| above.file_name() == Some(OsStr::new("node_modules"))).last();
        let in_bin = dir.file_name() == Some(OsStr::new("bin"));
        let package = modules.unwrap_or(if in_bin { dir.parent().unwrap_or(dir) } else { dir });
        let too_much = |p: &Path| {
            SHARED.iter().any(|s| p == host.home.join(s)) || host.home.starts_with(p) || p.parent().is_none()
        };
        let shown = if too_much(package) { dir } else { package };
        if too_much(shown) || keeps_secrets(host, shown) || is_somebodys_work(host, file) {
            self.read_only.insert(file.to_owned());
        } else {
            self.read_only.insert(shown.to_owned());
        }
    }

    /// The mounts, outer directories first. `directory` is the run's.
    pub(super) fn mounts(&self, directory: &Path) -> Vec<Mount> {
        let shown = self.read_only.iter().map(|path| Mount::Bind {
            source: path.as_path().into(),
            target: path.as_path().into(),
            access: Access::ReadOnly,
        });
        let layered = self.caches.iter().enumerate().map(|(n, path)| Mount::Overlay {
            lower: path.as_path().into(),
            between: Vec::new(),
            upper: directory.join(format!("layers/cache-{n}/upper")).into(),
            work: directory.join(format!("layers/cache-{n}/work")).into(),
            target: path.as_path().into(),
        });
        let parts = self
            .parts
            .iter()
            .map(|(path, content)| Mount::File { target: path.as_path().into(), content: content.clone().into() });
        let hidden = self.hidden.iter().map(|path| Mount::Hidden { target: path.as_path().into(), directory: false });
        shown.chain(layered).chain(parts).chain(hidden).collect()
    }
}

/// Whether a program that a link leads to lies among the person's own work, not in a package: below a visible directory of the
/// home, in a git working tree or loose (not `P/bin/tool`). Its neighbours are another project's secrets. Hidden directories
/// are where tools install themselves, often as clones.
fn is_somebodys_work(host: &Host, file: &Path) -> bool {
    let Some(top) = file.strip_prefix(&host.home).ok().and_then(|inner| inner.components().next()) else {
        return false;
    };
    if top.as_os_str().as_bytes().starts_with(b".") {
        return false;
    }
    let mut above = file.ancestors().skip(1).take_while(|dir| *dir != host.home);
    let loose = file.parent().and_then(Path::file_name) != Some(OsStr::new("bin"));
    loose || above.any(|dir| dir.join(".git").symlink_metadata().is_ok())
}

/// Whether a file is the interpreter of an installation: an ELF program `P/bin/python…` with a library `P/lib/python…`, and
/// `P` no virtual environment itself, in which somebody's project may lie.
fn is_python_installation(file: &Path) -> bool {
    let is_python = |name: &OsStr| ["python", "pypy"].iter().any(|p| name.as_bytes().starts_with(p.as_bytes()));
    let Some(bin) = file.parent().filter(|d| d.file_name() == Some(OsStr::new("bin"))) else { return false };
    let Some(prefix) = bin.parent() else { return false };
    let mut magic = [0u8; 4];
    file.file_name().is_some_and(is_python)
        && file.is_file()
        && std::fs::File::open(file).and_then(|mut f| f.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
        && !prefix.join("pyvenv.cfg").exists()
        && prefix.join("lib").read_dir().is_ok_and(|mut l| l.any(|e| e.is_ok_and(|e| is_python(&e.file_name()))))
}

/// Without `.` components; symbolic links stay.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|c| *c != Component::CurDir).collect()
}

/// Whether the system's part of the view shows it already.
fn in_system(path: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/nix", "/gnu", "/snap"]
        .iter()
        .any(|d| path.starts_with(d))
}

/// Whether a path holds, or lies in, a place of keys and sessions.
fn keeps_secrets(host: &Host, path: &Path) -> bool {
    path == host.home
        || host.home.starts_with(path)
        || KEEPS_SECRETS.iter().map(|k| host.home.join(k)).any(|k| path.starts_with(&k) || k.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path, path: &str) -> Host {
        Host {
            env: vec![("PATH".into(), path.into())],
            home: home.to_owned(),
            cwd: home.to_owned(),
            uid: 1000,
            binary: PathBuf::new(),
        }
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn links_and_interpreters_are_followed_and_keys_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("me");
        let at = |p: &str| home.join(p);
        write(&at(".local/share/tools/ruff/bin/ruff"), "x");
        write(&at(".local/share/keyrings/login"), "k");
        write(&at("py/3.12/bin/python3"), "x");
        write(&at(".local/bin/script"), &format!("#!{}/py/3.12/bin/python3 -E\n", home.display()));
        std::os::unix::fs::symlink(at(".local/share/tools/ruff/bin/ruff"), at(".local/bin/ruff")).unwrap();
        write(&at(".ssh/bin/tool"), "x");
        write(&at(".cargo/bin/cargo"), "x");
        write(&at(".cargo/credentials.toml"), "[registry]\ntoken = 'x'\n");
        write(&at(".cargo/config.toml"), "[source.crates-io]\nreplace-with = 'm'\n");
        std::fs::create_dir_all(at(".cargo/registry")).unwrap();
        write(&at("app/.venv/x"), "");
        std::fs::create_dir_all(at("app/.venv/bin")).unwrap();
        write(&at("uvpy/cpython/bin/python3.13"), "\x7fELF");
        write(&at("uvpy/cpython/lib/python3.13/os.py"), "");
        std::os::unix::fs::symlink(at("uvpy/cpython/bin/python3.13"), at("app/.venv/bin/python")).unwrap();

        let path = format!("{0}/.local/bin:{0}/.ssh/bin:{0}/.cargo/bin:/usr/bin", home.display());
        let mut notes = Vec::new();
        let found = discover(&host(&home, &path), &at("app"), &mut notes).unwrap();
        for shown in
            [".local/bin", ".local/share/tools/ruff", "py/3.12", ".cargo/bin", ".cargo/config.toml", "uvpy/cpython"]
        {
            assert!(found.read_only.contains(&at(shown)), "{shown}: {:?}", found.read_only);
        }
        assert!(found.caches.contains(&at(".cargo/registry")));
        for path in found.read_only.iter().chain(&found.caches) {
            for secret in [".ssh/bin/tool", ".cargo/credentials.toml", ".local/share/keyrings/login"] {
                assert!(!at(secret).starts_with(path), "{} shows {secret}", path.display());
            }
        }
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn a_program_in_a_project_comes_in_without_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("me");
        let at = |p: &str| home.join(p);
        for program in ["src/loose/tool", "src/cloned/bin/clone", ".tools/x/deep/hidden", "sdk/bin/packaged"] {
            write(&at(program), "x");
        }
        std::fs::create_dir_all(at("src/cloned/.git")).unwrap();
        std::fs::create_dir_all(at(".local/bin")).unwrap();
        for program in ["src/loose/tool", "src/cloned/bin/clone", ".tools/x/deep/hidden", "sdk/bin/packaged"] {
            let name = at(program).file_name().unwrap().to_owned();
            std::os::unix::fs::symlink(at(program), at(".local/bin").join(name)).unwrap();
        }
        std::fs::create_dir_all(at("app")).unwrap();
        let path = format!("{}/.local/bin", home.display());
        let found = discover(&host(&home, &path), &at("app"), &mut Vec::new()).unwrap();
        let shown = [".local/bin", ".tools/x/deep", "sdk", "src/cloned/bin/clone", "src/loose/tool"].map(at);
        assert_eq!(found.read_only, BTreeSet::from(shown));
    }

    #[test]
    fn a_virtual_environment_on_the_path_comes_in_without_what_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("me");
        let at = |p: &str| home.join(p);
        for file in ["work/bin/tool", "work/lib/python3.13/site-packages/tool.py", "work/pyvenv.cfg", "work/.env"] {
            write(&at(file), "x");
        }
        write(&at("plain/bin/tool"), "x");
        write(&at("plain/lib/x"), "x");
        std::fs::create_dir_all(at("app")).unwrap();
        let path = format!("{0}/work/bin:{0}/plain/bin", home.display());
        let found = discover(&host(&home, &path), &at("app"), &mut Vec::new()).unwrap();
        assert_eq!(found.read_only, BTreeSet::from(["plain/bin", "work/bin", "work/lib", "work/pyvenv.cfg"].map(at)));
    }

    #[test]
    fn a_package_of_node_finds_those_beside_itself() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("me");
        let at = |p: &str| home.join(p);
        write(&at(".agents/node_modules/@a/agent/bin/agent.js"), "x");
        write(&at(".agents/node_modules/@a/agent-linux/agent"), "x");
        std::fs::create_dir_all(at(".agents/bin")).unwrap();
        let program = at(".agents/node_modules/@a/agent/bin/agent.js");
        std::os::unix::fs::symlink(program, at(".agents/bin/agent")).unwrap();
        std::fs::create_dir_all(at("app")).unwrap();
        let path = format!("{}/.agents/bin", home.display());
        let found = discover(&host(&home, &path), &at("app"), &mut Vec::new()).unwrap();
        assert_eq!(found.read_only, BTreeSet::from([".agents/bin", ".agents/node_modules"].map(at)));
    }

    #[test]
    fn a_link_in_a_project_brings_in_only_an_installation() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        write(&at("good/bin/python3.13"), "\x7fELF");
        write(&at("good/lib/python3.13/os.py"), "");
        write(&at("venv/bin/python3"), "\x7fELF");
        write(&at("venv/lib/python3.13/os.py"), "");
        write(&at("venv/pyvenv.cfg"), "");
        write(&at("script/bin/python3"), "#!/bin/sh");
        write(&at("script/lib/python3.13/os.py"), "");
        write(&at("bare/bin/python3"), "\x7fELF");
        write(&at("good/bin/tool"), "\x7fELF");
        assert!(is_python_installation(&at("good/bin/python3.13")));
        for other in
            ["venv/bin/python3", "script/bin/python3", "bare/bin/python3", "good/bin/tool", "good/bin/none", "good"]
        {
            assert!(!is_python_installation(&at(other)), "{other}");
        }
    }
}
