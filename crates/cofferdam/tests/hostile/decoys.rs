//! Reading a file without being seen at it.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Loot, check};

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("read-mapped", [path]) => mapped(path),
        ("read-reopened", [path]) => reopened(path),
        ("read-renamed", [path]) => {
            let other = format!("{path}.other");
            fs::rename(path, &other).and_then(|()| fs::read_to_string(&other))
        }
        ("read-linked", [path]) => {
            let other = format!("{path}.other");
            fs::hard_link(path, &other).and_then(|()| fs::remove_file(path)).and_then(|()| fs::read_to_string(&other))
        }
        ("read-directory-renamed", [path]) => directory_renamed(Path::new(path)),
        ("open-often", [times, paths @ ..]) => often(times, paths),
        _ => return None,
    })
}

fn mapped(path: &str) -> Loot {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    // SAFETY: a fresh private mapping of an open file, read within its size, which nobody changes.
    let text = unsafe {
        let at = libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        std::slice::from_raw_parts(at.cast::<u8>(), size)
    };
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn reopened(path: &str) -> Loot {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let mut text = String::new();
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.read_to_string(&mut text)?;
    Ok(text)
}

fn directory_renamed(path: &Path) -> Loot {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("no parent"));
    };
    let other = parent.with_extension("other");
    fs::rename(parent, &other)?;
    fs::read_to_string(other.join(name))
}

/// Opens each file so many times, in turn: the kernel folds what is equal and follows on itself.
fn often(times: &str, paths: &[&str]) -> Loot {
    let times: u64 = times.parse().map_err(io::Error::other)?;
    let paths: Vec<CString> = paths.iter().map(|p| CString::new(*p)).collect::<Result<_, _>>()?;
    for _ in 0..times {
        for path in &paths {
            // SAFETY: a terminated path; the descriptor is closed at once.
            unsafe {
                let fd = check(libc::open(path.as_ptr(), libc::O_RDONLY).into())?;
                libc::close(i32::try_from(fd).unwrap_or(-1));
            }
        }
    }
    Ok(times.to_string())
}
