//! Reading another process's memory.

use std::io;

use rustix::process::Pid;

use crate::check;

/// Reads a NUL-terminated string at `address` of process `pid` (`process_vm_readv(2)`), without the NUL.
///
/// The bytes are hostile: the process may change them at any time.
///
/// # Errors
/// `EPERM` where the process may not be read, `EFAULT` where nothing is mapped, `ENAMETOOLONG` where no NUL comes
/// within `limit` bytes.
pub fn read_string(pid: Pid, address: u64, limit: usize) -> io::Result<Vec<u8>> {
    const PAGE: u64 = 4096;
    let mut out = Vec::new();
    let mut at = address;
    while out.len() < limit {
        // Never across a page at once: the next one need not be mapped.
        let room = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(limit - out.len());
        let mut chunk = [0u8; PAGE as usize];
        let local = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: room };
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: room };
        // SAFETY: `local` describes `room` bytes of `chunk`; `remote` is only interpreted in the other process.
        let got =
            unsafe { libc::process_vm_readv(pid.as_raw_nonzero().get(), &raw const local, 1, &raw const remote, 1, 0) };
        let got = usize::try_from(check(got as libc::c_long)?).unwrap_or(0);
        if got == 0 {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        if let Some(end) = chunk[..got].iter().position(|b| *b == 0) {
            out.extend_from_slice(&chunk[..end]);
            return Ok(out);
        }
        out.extend_from_slice(&chunk[..got]);
        at += got as u64;
    }
    Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
}

/// Reads what is mapped from `address` of process `pid` on, up to `limit` bytes, in one call (`process_vm_readv(2)`).
///
/// # Errors
/// As [`read_string`].
pub fn read_mapped(pid: Pid, address: u64, limit: usize) -> io::Result<Vec<u8>> {
    const PAGE: usize = 4096;
    // One element a page: the call ends at the first that is not mapped, and says how far it came.
    let mut remote = Vec::with_capacity(limit / PAGE + 2);
    let (mut at, mut left) = (address, limit);
    while left > 0 {
        let room = (PAGE - usize::try_from(at % PAGE as u64).unwrap_or(0)).min(left);
        remote.push(libc::iovec { iov_base: at as *mut libc::c_void, iov_len: room });
        at = at.wrapping_add(room as u64);
        left -= room;
    }
    let mut out = Vec::<u8>::with_capacity(limit);
    let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: limit };
    let count = remote.len() as libc::c_ulong;
    // SAFETY: `local` describes the room in `out`, `remote` has `count` elements, which are only interpreted in the other
    // process.
    let got =
        unsafe { libc::process_vm_readv(pid.as_raw_nonzero().get(), &raw const local, 1, remote.as_ptr(), count, 0) };
    let got = usize::try_from(check(got as libc::c_long)?).unwrap_or(0);
    // SAFETY: the kernel has written the first `got` bytes, of which there are no more than `limit`.
    unsafe { out.set_len(got) };
    Ok(out)
}

/// Fills `buffer` from `address` of process `pid` (`process_vm_readv(2)`).
///
/// # Errors
/// As [`read_string`]; `EFAULT` where only a part is mapped.
pub fn read_bytes(pid: Pid, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`; `remote` is only interpreted in the other process.
    let got =
        unsafe { libc::process_vm_readv(pid.as_raw_nonzero().get(), &raw const local, 1, &raw const remote, 1, 0) };
    if check(got as libc::c_long)? == libc::c_long::try_from(buffer.len()).unwrap_or(libc::c_long::MAX) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}
