//! The arguments and the environment that an exec has put on the new program's stack.
//!
//! At the exec stop the program has not run yet, and its memory is new: nobody else has it. From the stack pointer up lie
//! the number of arguments, their addresses, a null, those of the environment, a null, the auxiliary vector, and the
//! strings themselves (System V ABI, AMD64 supplement, 3.4.1; the same for the other 64-bit architectures).

use cofferdam_sys::memory::read_mapped;
use cofferdam_sys::ptrace;
use rustix::process::Pid;

/// What is read at once. What goes beyond is read from /proc.
const MOST: usize = 64 << 10;
const WORD: usize = 8;

/// What [`read`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// Each ended by a NUL, as in /proc/PID/cmdline.
    pub(super) arguments: Vec<u8>,
    /// Each ended by a NUL, as in /proc/PID/environ.
    pub(super) environment: Vec<u8>,
}

/// What stands at the start of a program.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Absent where it is more than [`MOST`], or cannot be read.
    pub(super) stack: Option<Stack>,
    /// It is a program of another architecture, 32-bit programs among them.
    pub(super) foreign: bool,
}

/// Of a process in its exec stop.
pub(super) fn read(process: Pid) -> Start {
    match ptrace::stack_pointer(process) {
        Ok(Some(at)) => {
            let stack = read_mapped(process, at, MOST).ok().and_then(|stack| parse(at, &stack));
            Start { stack, foreign: false }
        }
        Ok(None) => Start { stack: None, foreign: true },
        Err(_) => Start::default(), // killed in its stop
    }
}

fn parse(at: u64, stack: &[u8]) -> Option<Stack> {
    let mut words = stack.chunks_exact(WORD).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    let count = usize::try_from(words.next()?).ok()?;
    let mut strings = |count: Option<usize>| {
        let mut all = Vec::new();
        for n in 0.. {
            let address = words.next()?;
            if address == 0 {
                return count.is_none_or(|count| count == n).then_some(all);
            }
            let from = stack.get(usize::try_from(address.checked_sub(at)?).ok()?..)?;
            all.extend_from_slice(&from[..=memchr::memchr(0, from)?]);
        }
        None
    };
    Some(Stack { arguments: strings(Some(count))?, environment: strings(None)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack at `at` with these strings.
    fn stack(at: u64, arguments: &[&str], environment: &[&str]) -> Vec<u8> {
        let words = 1 + arguments.len() + 1 + environment.len() + 1;
        let (mut stack, mut strings) = ((arguments.len() as u64).to_ne_bytes().to_vec(), Vec::new());
        for list in [arguments, environment] {
            for string in list {
                stack.extend((at + (words * WORD + strings.len()) as u64).to_ne_bytes());
                strings.extend_from_slice(string.as_bytes());
                strings.push(0);
            }
            stack.extend([0; WORD]);
        }
        stack.extend(strings);
        stack
    }

    #[test]
    fn arguments_and_environment_are_read() {
        let at = 0x7fff_0000_1230;
        let read = parse(at, &stack(at, &["sh", "", "a b"], &["A=1", "B="])).unwrap();
        assert_eq!((&read.arguments[..], &read.environment[..]), (&b"sh\0\0a b\0"[..], &b"A=1\0B=\0"[..]));
        let none = parse(at, &stack(at, &[], &[])).unwrap();
        assert!(none.arguments.is_empty() && none.environment.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_to_proc() {
        let at = 0x7fff_0000_1230;
        let whole = stack(at, &["sh", "-c"], &["A=1"]);
        for cut in 0..whole.len() {
            assert_eq!(parse(at, &whole[..cut]), None, "{cut}");
        }
        let mut wrong = whole.clone();
        wrong[0] = 3;
        assert_eq!(parse(at, &wrong), None, "another number of arguments");
        assert_eq!(parse(at + 0x1000, &whole), None, "an address below the stack");
        assert_eq!(parse(at, &[0xff; 4096]), None);
    }
}
