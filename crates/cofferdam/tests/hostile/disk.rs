//! No attack: what programs do with a disk. Each step fails where the workspace is not like one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::{Loot, check};

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("plain-disk", []) => all(),
        _ => return None,
    })
}

/// A name and what is done.
type Step = (&'static str, fn() -> io::Result<()>);

fn all() -> Loot {
    let steps: [Step; 11] = [
        ("in-place", in_place),
        ("rename-save", rename_save),
        ("hard-links", hard_links),
        ("locks", locks),
        ("mmap", mmap),
        ("socket", socket),
        ("fifo", fifo),
        ("sparse", sparse),
        ("links-in-and-out", links),
        ("odd-names", odd_names),
        ("tmpfile", tmpfile),
    ];
    for (name, step) in steps {
        step().map_err(|e| io::Error::other(format!("{name}: {e}")))?;
    }
    Ok(format!("{} steps", steps.len()))
}

fn expect(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(what.to_owned())) }
}

/// A file of the real tree, changed through one descriptor and read through another that was open before.
fn in_place() -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open("kept.txt")?;
    let inode = file.metadata()?.ino();
    file.write_all(b"IN")?;
    expect(fs::read("kept.txt")?.starts_with(b"IN"), "written bytes are read back by name")?;
    expect(fs::metadata("kept.txt")?.ino() == inode, "the inode number stays over a copy-up")?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_mode(0o640);
    file.set_permissions(permissions)?;
    expect(fs::metadata("kept.txt")?.mode() & 0o777 == 0o640, "the mode changes")
}

fn rename_save() -> io::Result<()> {
    fs::write("kept.txt.tmp", "saved")?;
    fs::rename("kept.txt.tmp", "kept.txt")?;
    expect(fs::read_to_string("kept.txt")? == "saved", "a save by rename")
}

fn hard_links() -> io::Result<()> {
    fs::write("one", "x")?;
    fs::hard_link("one", "two")?;
    File::options().append(true).open("two")?.write_all(b"y")?;
    expect(fs::read("one")? == b"xy" && fs::metadata("one")?.nlink() == 2, "both names are one file")
}

fn locks() -> io::Result<()> {
    let (a, b) = (File::create("lock")?, File::open("lock")?);
    // SAFETY: plain descriptors.
    let lock = |f: &File| check(i64::from(unsafe { libc::flock(f.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }));
    lock(&a)?;
    expect(lock(&b).is_err(), "a lock excludes")
}

fn mmap() -> io::Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open("mapped")?;
    file.set_len(8192)?;
    // SAFETY: a fresh shared mapping of a file of that length, written within it and unmapped.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        at.cast::<u8>().add(5000).write(7);
        check(i64::from(libc::msync(at, 8192, libc::MS_SYNC)))?;
        libc::munmap(at, 8192);
    }
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5000)?;
    expect(byte == [7], "what is written to a mapping is read from the file")
}

fn socket() -> io::Result<()> {
    let listener = UnixListener::bind("socket")?;
    let mut client = UnixStream::connect("socket")?;
    client.write_all(b"!")?;
    listener.accept()?.0.read_exact(&mut [0])
}

fn fifo() -> io::Result<()> {
    // SAFETY: a NUL-terminated name.
    check(i64::from(unsafe { libc::mkfifo(c"fifo".as_ptr(), 0o600) }))?;
    let writer = std::thread::spawn(|| fs::write("fifo", "through"));
    let got = fs::read_to_string("fifo")?;
    writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
    expect(got == "through", "a FIFO passes bytes")
}

fn sparse() -> io::Result<()> {
    let mut file = File::create("sparse")?;
    file.seek(SeekFrom::Start(6 << 30))?;
    file.write_all(b"end")?;
    let meta = file.metadata()?;
    expect(meta.len() == (6 << 30) + 3 && meta.blocks() * 512 < 1 << 20, "6 GiB that take no room")
}

fn links() -> io::Result<()> {
    symlink("kept.txt", "in")?;
    symlink("/etc/passwd", "out")?;
    symlink("nowhere", "dangling")?;
    expect(fs::read_to_string("in")? == "saved" && !fs::read("out")?.is_empty(), "links are followed")?;
    expect(fs::metadata("dangling").is_err() && fs::symlink_metadata("dangling").is_ok(), "a dangling link is one")
}

fn odd_names() -> io::Result<()> {
    for name in [&b"\xff\xfe"[..], b"new\nline", b" ", b"-rf", "\u{202e}txt".as_bytes()] {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        fs::write(path, name)?;
        expect(fs::read(path)? == name, "an odd name")?;
    }
    Ok(())
}

/// A file without a name, given one (`open(2)`, O_TMPFILE).
fn tmpfile() -> io::Result<()> {
    // SAFETY: NUL-terminated names; the descriptor is closed at the end of the process.
    unsafe {
        let fd = libc::open(c".".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600);
        check(i64::from(fd))?;
        let from = std::ffi::CString::new(format!("/proc/self/fd/{fd}"))?;
        check(i64::from(libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            c"named".as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )))?;
    }
    expect(fs::metadata("named")?.is_file(), "a nameless file got a name")
}
