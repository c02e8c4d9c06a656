//! The file-system view: the plan's mounts, made inside a new root (`mount_namespaces(7)`, `fsopen(2)`).
//!
//! Every target is resolved inside the new root and nowhere else; layers are named by descriptors, because their paths
//! may be covered by then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use cofferdam_core::Bytes;
use cofferdam_core::plan::{Access, EnclosurePlan, Form, Mount};
use cofferdam_sys::mounts::{NODEV, NOSUID, RDONLY, set_attributes};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat, openat2, statx, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::{Doing, EnclosureError, Step};
use crate::java_keystore::JavaKeystore;
use crate::regular::open_regular;

/// Device nodes of the minimal /dev.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// The new root under construction.
pub(crate) struct View {
    root: OwnedFd,
    hidden: Option<(OwnedFd, OwnedFd)>,
    /// Where the enclosure's own files lie, and how many there are; each is attached by itself and read-only.
    scratch: Option<(OwnedFd, u32)>,
}

impl View {
    /// An empty root with /dev, /proc and nothing else. Needs the new namespaces.
    pub(crate) fn new() -> Result<View, EnclosureError> {
        let doing = |what: &'static str| move || what.to_owned();
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
        .doing(Step::Root, doing("making the mounts private"))?;
        let root = tmpfs("755").doing(Step::Root, doing("making the new root"))?;
        // Attached somewhere, because only an attached mount can become the root; /tmp exists everywhere, and nothing
        // of the host's is opened by a path below it from here on (layers are opened before they are covered).
        let view = View { root, hidden: None, scratch: None };
        view.devices().doing(Step::Root, doing("making /dev"))?;
        let proc = filesystem("proc", &[], MountAttrFlags::MOUNT_ATTR_NOEXEC)
            .doing(Step::Root, doing("mounting a fresh /proc (a container that masks parts of /proc forbids it)"))?;
        view.attach(&proc, &"/proc".into()).doing(Step::Root, doing("mounting a fresh /proc"))?;
        Ok(view)
    }

    fn devices(&self) -> io::Result<()> {
        let dev = filesystem("tmpfs", &[("mode", "755")], MountAttrFlags::empty())?;
        for name in DEVICES {
            let node = open_tree(CWD, format!("/dev/{name}"), clone_flags())?;
            // Read-only keeps the node's mode, owner and times, which are the host's own; what is written to the device
            // passes (mount(8), `ro` is about the file system).
            set_attributes(node.as_fd(), RDONLY | NOSUID, false)?;
            drop(openat(&dev, *name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?);
            attach_at(&node, dev.as_fd(), name)?;
        }
        for (name, text) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            symlinkat(text, &dev, name)?;
        }
        for (name, mode) in [("shm", 0o1777), ("pts", 0o755)] {
            mkdirat(&dev, name, Mode::from_raw_mode(mode))?;
        }
        let pts = filesystem(
            "devpts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "620")],
            MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )?;
        attach_at(&pts, dev.as_fd(), "pts")?;
        self.attach(&dev, &"/dev".into())
    }

    /// Makes one mount of the plan. `authority` is the certificate of the run's authority, PEM.
    pub(crate) fn add(&mut self, mount: &Mount, authority: &str) -> Result<(), EnclosureError> {
        match mount {
            Mount::Bind { source, target, access } => self
                .bind(source, target, *access)
                .doing(Step::Mount, || format!("binding {}", source.as_path().display())),
            Mount::Overlay { lower, between, upper, work, target } => self
                .overlay(lower, between, upper, work, target)
                .doing(Step::Overlay, || format!("laying copy-on-write over {}", target.as_path().display())),
            Mount::Tmpfs { target, mode } => tmpfs(&format!("{mode:o}"))
                .and_then(|fs| self.attach(&fs, target))
                .doing(Step::Mount, || format!("making {}", target.as_path().display())),
            Mount::Hidden { target, directory } => {
                self.hide(target, *directory).doing(Step::Mount, || format!("hiding {}", target.as_path().display()))
            }
            Mount::Symlink { target, text } => {
                self.symlink(target, text).doing(Step::Mount, || format!("linking {}", target.as_path().display()))
            }
            Mount::File { target, content } => self
                .file(target, |file| file.write_all(&content.0))
                .doing(Step::Mount, || format!("writing {}", target.as_path().display())),
            Mount::Bundle { target, source, form } => self
                .bundle(target, source.as_ref(), *form, authority)
                .doing(Step::Mount, || format!("writing {}", target.as_path().display())),
        }
    }

    fn bind(&self, source: &Bytes, target: &Bytes, access: Access) -> io::Result<()> {
        let tree = open_tree(CWD, source.as_path(), clone_flags() | OpenTreeFlags::AT_RECURSIVE)?;
        let read_only = if access == Access::ReadOnly { RDONLY } else { 0 };
        set_attributes(tree.as_fd(), NOSUID | NODEV | read_only, true)?;
        self.attach(&tree, target)
    }

    fn overlay(&self, lower: &Bytes, between: &[Bytes], upper: &Bytes, work: &Bytes, target: &Bytes) -> io::Result<()> {
        let open = |path: &Bytes| {
            openat(CWD, path.as_path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
        };
        let (upper, work) = (open(upper)?, open(work)?);
        let lowers = between.iter().chain([lower]).map(open).collect::<io::Result<Vec<OwnedFd>>>()?;
        let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "coffer")?;
        // The topmost first. Each a descriptor's name without a colon, and a value of 256 bytes (fsconfig(2)) holds all
        // that a plan may have.
        fsconfig_set_string(&context, "lowerdir", lowers.iter().map(name).collect::<Vec<_>>().join(":"))?;
        fsconfig_set_string(&context, "upperdir", name(&upper))?;
        fsconfig_set_string(&context, "workdir", name(&work))?;
        fsconfig_set_flag(&context, "userxattr")?;
        // Inode numbers of the lower layer show through wherever the upper one lies: what was copied up can be told.
        fsconfig_set_string(&context, "xino", "on")?;
        // Without it the end of a run syncs the whole file system of the upper layer, whoever dirtied it.
        fsconfig_set_flag(&context, "volatile")?;
        fsconfig_create(&context)?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, no_suid_no_dev())?;
        self.attach(&mount, target)
    }

    fn hide(&mut self, target: &Bytes, directory: bool) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match open_in(&self.root, relative(target), flags, ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()), // not in the view: nothing to hide
            other => drop(other?),
        }
        if self.hidden.is_none() {
            let scratch = tmpfs("700")?;
            mkdirat(&scratch, "directory", Mode::empty())?;
            drop(openat(&scratch, "file", OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
            let mut trees = Vec::new();
            for name in ["directory", "file"] {
                let tree = open_tree(&scratch, name, clone_flags())?;
                set_attributes(tree.as_fd(), RDONLY | NOSUID | NODEV, false)?;
                trees.push(tree);
            }
            if let (Some(file), Some(dir)) = (trees.pop(), trees.pop()) {
                self.hidden = Some((dir, file));
            }
        }
        let Some((dir, file)) = &self.hidden else { return Err(Errno::NOENT.into()) };
        let copy = open_tree(if directory { dir } else { file }, "", clone_flags() | OpenTreeFlags::AT_EMPTY_PATH)?;
        self.attach(&copy, target)
    }

    fn symlink(&self, target: &Bytes, text: &Bytes) -> io::Result<()> {
        let path = relative(target);
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        match symlinkat(text.as_path(), &parent, path.file_name().unwrap_or_default()) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Shows a file of the enclosure's own at that place, read-only, over what the view may have there.
    fn file(&mut self, target: &Bytes, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (scratch, count) = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert((tmpfs("700")?, 0)),
        };
        let name = count.to_string();
        *count += 1;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(openat(&*scratch, &*name, flags, Mode::from_raw_mode(0o444))?);
        write(&mut file)?;
        let tree = open_tree(&*scratch, &*name, clone_flags())?;
        set_attributes(tree.as_fd(), RDONLY | NOSUID | NODEV, false)?;
        self.attach(&tree, target)
    }

    /// Shows the host's certificates, then the run's.
    fn bundle(&mut self, target: &Bytes, source: Option<&Bytes>, form: Form, authority: &str) -> io::Result<()> {
        let host = source.map(bundle_of_host).transpose()?;
        self.file(target, |file| match (form, host) {
            (Form::Pem, host) => {
                if let Some(mut host) = host {
                    // In the kernel, page by page (sendfile(2)).
                    io::copy(&mut host, file)?;
                    file.write_all(b"\n")?; // the last line may have no end
                }
                file.write_all(authority.as_bytes())
            }
            (Form::Chromium, _) => {
                // What PEM has between its first and last line is the base64 that is asked for.
                let base64: String = authority.lines().filter(|line| !line.starts_with('-')).collect();
                writeln!(file, "{{\"CACertificates\":[\"{base64}\"]}}")
            }
            (Form::JavaKeystore, host) => {
                let mut content = Vec::new();
                if let Some(mut host) = host {
                    host.read_to_end(&mut content)?;
                }
                let mut store = JavaKeystore::of_host(content)?;
                store.trust("cofferdam", authority.as_bytes())?;
                file.write_all(&store.finish())
            }
        })
    }

    /// Mounts `tree` at `target`, making the mount point where there is none.
    fn attach(&self, tree: &OwnedFd, target: &Bytes) -> io::Result<()> {
        let path = relative(target);
        let find = || {
            open_in(
                &self.root,
                if path == Path::new("") { Path::new(".") } else { path },
                OFlags::PATH | OFlags::CLOEXEC,
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            )
        };
        let at = match find() {
            Err(Errno::NOENT) => {
                let is_directory = statx(tree, "", rustix::fs::AtFlags::EMPTY_PATH, StatxFlags::TYPE)?.stx_mode
                    & 0o170_000
                    == 0o040_000;
                if is_directory {
                    self.directory(path)?
                } else {
                    let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
                    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    drop(openat(&parent, path.file_name().unwrap_or_default(), flags, Mode::from_raw_mode(0o600))?);
                    find()?
                }
            }
            other => other?,
        };
        move_mount(
            tree,
            "",
            &at,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )?;
        Ok(())
    }

    /// Opens a directory of the new root, making what is missing of it.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut so_far = std::path::PathBuf::new();
        let mut current = open_in(&self.root, Path::new("."), flags, resolve)?;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            so_far.push(name);
            current = match open_in(&self.root, &so_far, flags, resolve) {
                Err(Errno::NOENT) => {
                    match mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                        Err(Errno::EXIST) => {}
                        other => other?,
                    }
                    open_in(&self.root, &so_far, flags, resolve)?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    /// Covers the kernel's part of /proc: the caller is root, so that the enclosure's processes, whatever uid they see,
    /// own those files. All of it becomes read-only, because settings are the host's and a mode that is changed here is
    /// changed in every instance of proc; what the world may not read is hidden.
    pub(crate) fn guard_proc(&mut self) -> Result<(), EnclosureError> {
        for (name, closed, directory) in self.kernel_files().doing(Step::Root, || "listing /proc".to_owned())? {
            let path = Bytes::from(Path::new("/proc").join(&name).as_path());
            let protect = || -> io::Result<()> {
                let flags = clone_flags() | OpenTreeFlags::AT_RECURSIVE;
                let tree = open_tree(&self.root, relative(&path), flags)?;
                set_attributes(tree.as_fd(), RDONLY, true)?;
                self.attach(&tree, &path)
            };
            let done = if closed { self.hide(&path, directory) } else { protect() };
            done.doing(Step::Root, || format!("protecting {}", path.as_path().display()))?;
        }
        self.hide(&"/proc/tty/driver".into(), true).doing(Step::Root, || "hiding /proc/tty/driver".to_owned())
    }

    /// What of /proc belongs to no process: its name, whether the world may not read it, whether it is a directory.
    fn kernel_files(&self) -> io::Result<Vec<(std::ffi::OsString, bool, bool)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(&self.root, "proc", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&proc)? {
            let entry = entry?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            let is_process = name.as_bytes().iter().all(u8::is_ascii_digit);
            if is_process || name == "." || name == ".." {
                continue;
            }
            let stat = rustix::fs::statat(&proc, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {} // `self` and what leads into it
                kind => found.push((name.to_owned(), stat.st_mode & 0o004 == 0, kind == FileType::Directory)),
            }
        }
        Ok(found)
    }

    /// Makes the view the root of this process and lets go of the host's.
    pub(crate) fn enter(self) -> Result<(), EnclosureError> {
        let doing = || "entering the new root".to_owned();
        move_mount(&self.root, "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(Step::Pivot, doing)?;
        rustix::process::fchdir(&self.root).doing(Step::Pivot, doing)?;
        rustix::process::pivot_root(".", ".").doing(Step::Pivot, doing)?;
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).doing(Step::Pivot, doing)?;
        rustix::process::chdir("/").doing(Step::Pivot, doing)?;
        set_attributes(self.root.as_fd(), RDONLY, false).doing(Step::Pivot, doing)
    }
}

/// How often a path is looked for in which a `..` could not be followed safely.
const TRIES: usize = 1000;

/// Opens below a root that `..` and links do not lead out of. While somebody else on the machine renames or mounts, the
/// kernel cannot vouch for a `..` and says so (EAGAIN of `openat2(2)`): then it is tried again.
fn open_in(root: &OwnedFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let mut tries = 0..TRIES;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries.next().is_some() => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// A regular file of the host, whatever may have taken its place since the plan was made.
fn bundle_of_host(path: &Bytes) -> io::Result<io::Take<File>> {
    let file = open_regular(path.as_path())?;
    if file.metadata()?.len() > EnclosurePlan::LARGEST_BUNDLE {
        let why = format!("{} is larger than 16 MiB", path.as_path().display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(file.take(EnclosurePlan::LARGEST_BUNDLE))
}

fn relative(path: &Bytes) -> &Path {
    let path = path.as_path();
    path.strip_prefix("/").unwrap_or(path)
}

fn clone_flags() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC
}

fn no_suid_no_dev() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

fn tmpfs(mode: &str) -> io::Result<OwnedFd> {
    filesystem("tmpfs", &[("mode", mode)], MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// A new, detached mount. An option with an empty value is a flag.
fn filesystem(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&context, *key)?;
        } else {
            fsconfig_set_string(&context, *key, *value)?;
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes | MountAttrFlags::MOUNT_ATTR_NOSUID)?)
}

fn attach_at(tree: &OwnedFd, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    move_mount(tree, "", directory, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}
