//! Sockets of the host that lie in a part of the view.
//!
//! To connect to a socket takes write permission on it and nothing of its mount (`unix(7)`): a read-only bind keeps nobody
//! away from what listens in a toolchain's directory or below /opt. What is bound when the run starts is hidden. A socket that
//! is bound there later is not, and neither is one with a line end in its name; only a directory that is shown through an
//! overlay has sockets of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use cofferdam_core::plan::{Access, Mount};

/// Hides the bound sockets of this network namespace (`/proc/net/unix`, proc(5)) that lie below a read-only bind.
pub(super) fn hidden(mounts: &[Mount]) -> std::io::Result<Vec<Mount>> {
    let mut hidden = among(&std::fs::read("/proc/net/unix")?, mounts);
    // A name in the table is whatever somebody bound, in whatever root: it must not hide a program.
    hidden.retain(|mount| match mount {
        Mount::Hidden { target, .. } => {
            target.as_path().symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket())
        }
        _ => false,
    });
    Ok(hidden)
}

fn among(table: &[u8], mounts: &[Mount]) -> Vec<Mount> {
    let shown = |path: &Path| {
        mounts.iter().any(|mount| match mount {
            Mount::Bind { source, target, access: Access::ReadOnly } => {
                source == target && path.starts_with(source.as_path())
            }
            _ => false,
        })
    };
    let mut paths: Vec<&Path> = table.split(|b| *b == b'\n').filter_map(path_of).filter(|p| shown(p)).collect();
    paths.sort_unstable();
    paths.dedup(); // each accepted connection has a line with the listener's name
    paths.into_iter().map(|path| Mount::Hidden { target: path.into(), directory: false }).collect()
}

/// The path of a line `Num RefCount Protocol Flags Type St Inode Path`. The inode is padded with blanks, and the path may
/// hold some.
fn path_of(line: &[u8]) -> Option<&Path> {
    let at = line.windows(2).position(|w| w == b" /")?;
    Some(Path::new(OsStr::from_bytes(&line[at + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_below_a_read_only_bind_are_hidden() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 15321 /opt/tool/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 15322 /opt/tool/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03   222\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 15325 @/opt/abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 15326 relative.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 15327 /run/other.sock\n";
        let bind = |path: &str, access| Mount::Bind { source: path.into(), target: path.into(), access };
        let mounts =
            [bind("/opt", Access::ReadOnly), bind("/run/other", Access::ReadOnly), bind("/run", Access::ReadWrite)];
        let hidden = among(table, &mounts);
        assert_eq!(hidden, [Mount::Hidden { target: "/opt/tool/a b.sock".into(), directory: false }]);
    }
}
