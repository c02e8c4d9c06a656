//! The arguments of the notified calls (`rename(2)`).

use linux_raw_sys::general as n;

/// A path argument: where it is relative to, and its address in the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathArgument {
    /// A descriptor of the caller, or `AT_FDCWD`.
    pub(crate) directory: i32,
    /// In the caller's memory.
    pub(crate) path: u64,
}

/// The arguments of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RenameArguments {
    pub(crate) old: PathArgument,
    pub(crate) new: PathArgument,
    /// `RENAME_*`.
    pub(crate) flags: u32,
}

/// Reads raw arguments; `None` where the call is no rename.
pub(crate) fn arguments(number: i32, raw: [u64; 6]) -> Option<RenameArguments> {
    let number = u32::try_from(number).ok()?;
    // The kernel takes `int` and `unsigned int` arguments from the low half of the register.
    let low = |value: u64| value as u32;
    let at = |directory: u64, path: u64| PathArgument { directory: low(directory).cast_signed(), path };
    #[cfg(target_arch = "x86_64")]
    if number == n::__NR_rename {
        let here = u64::from(n::AT_FDCWD.cast_unsigned());
        return Some(RenameArguments { old: at(here, raw[0]), new: at(here, raw[1]), flags: 0 });
    }
    let flags = match number {
        n::__NR_renameat => 0,
        n::__NR_renameat2 => low(raw[4]),
        _ => return None,
    };
    Some(RenameArguments { old: at(raw[0], raw[1]), new: at(raw[2], raw[3]), flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notified_call_is_read() {
        for number in crate::filter::RENAMES {
            let read = arguments(number.cast_signed(), [10, 20, 30, 40, 0xffff_ffff_0000_0002, 0]).unwrap();
            assert_eq!(read.flags, if *number == n::__NR_renameat2 { 2 } else { 0 });
        }
        let read = arguments(n::__NR_renameat2.cast_signed(), [0xffff_ff9c, 7, 3, 8, 1, 0]).unwrap();
        assert_eq!(read.old, PathArgument { directory: n::AT_FDCWD, path: 7 });
        assert_eq!(read.new, PathArgument { directory: 3, path: 8 });
        assert_eq!(arguments(0, [0; 6]), None);
    }
}
