//! From the table to a classic BPF program (Documentation/userspace-api/seccomp_filter.rst).

use std::collections::BTreeMap;

use cofferdam_sys::seccomp::Instruction;

use super::table::{CONNECTS, Condition, EXECS, HIGHEST, RENAMES, Row, TABLE};

/// What is notified to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// For the command: renames, execs and connects.
    Calls,
    /// For the helper, which renames on the command's behalf and executes nothing.
    Nothing,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

// linux/bpf_common.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// linux/seccomp.h
const ALLOW: u32 = 0x7fff_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ENOSYS: u32 = 38;

// offsets in `struct seccomp_data`
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The low 32 bits of an argument on a little-endian machine.
fn argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

/// Its high 32 bits.
fn upper_half(index: u8) -> u32 {
    argument(index) + 4
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The program.
pub fn program(notify: Notify) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD, ARCH),
        jump(EQUAL, ARCHITECTURE, 1, 0),
        op(RETURN, KILL_PROCESS),
        op(LOAD, NUMBER),
        jump(ABOVE, HIGHEST, 0, 1),
        op(RETURN, ERRNO | ENOSYS),
    ];
    let mut calls: BTreeMap<u32, Vec<Instruction>> = BTreeMap::new();
    if notify == Notify::Calls {
        calls.extend(RENAMES.iter().chain(EXECS).chain(CONNECTS).map(|number| (*number, vec![op(RETURN, USER_NOTIF)])));
    }
    for row in TABLE {
        calls.entry(row.number).or_default().extend(refusal(row));
    }
    code.extend(search(&calls.into_iter().collect::<Vec<_>>()));
    code
}

/// A binary search for the call's number. The kernel tries the program once for each call it knows when it is installed
/// (to remember which are allowed whatever their arguments): a list would cost it ten times as long.
fn search(calls: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    match calls {
        [] => vec![op(RETURN, ALLOW)],
        [(number, block)] => {
            // A block is a few instructions: its length fits the jump (a test compiles the whole table).
            let mut code = vec![jump(EQUAL, *number, 0, u8::try_from(block.len()).unwrap_or(u8::MAX))];
            code.extend(block);
            code.push(op(RETURN, ALLOW));
            code
        }
        _ => {
            let (low, high) = calls.split_at(calls.len() / 2);
            let below = search(low);
            // Conditional jumps reach 255 instructions, the unconditional one any distance.
            let over = op(JUMP, u32::try_from(below.len()).unwrap_or(u32::MAX));
            let mut code = vec![jump(AT_LEAST, high[0].0, 0, 1), over];
            code.extend(below);
            code.extend(search(high));
            code
        }
    }
}

/// What runs when a row's number matched: returns the error, or falls through with the number loaded again.
fn refusal(row: &Row) -> Vec<Instruction> {
    let refuse = op(RETURN, ERRNO | u32::from(row.errno));
    let again = op(LOAD, NUMBER);
    // `values.len()` comparisons, each jumping past the rest when equal.
    let compare = |values: &[u32], then: usize| -> Vec<Instruction> {
        (0u8..)
            .zip(values)
            .map(|(i, v)| {
                let rest = values.len() - 1 - usize::from(i);
                jump(EQUAL, *v, u8::try_from(rest + then).unwrap_or(u8::MAX), 0)
            })
            .collect()
    };
    match row.condition {
        Condition::Always => vec![refuse],
        Condition::AnyBit(arg, bits) => vec![op(LOAD, argument(arg)), jump(ANY_BIT, bits, 0, 1), refuse, again],
        Condition::OneOf(arg, values) => {
            let mut block = vec![op(LOAD, argument(arg))];
            block.extend(compare(values, 1));
            block.extend([jump(EQUAL, 0, 1, 1), refuse, again]); // no value matched: over the refusal either way
            block
        }
        Condition::NoneOf(arg, values) => {
            let mut block = vec![op(LOAD, argument(arg))];
            block.extend(compare(values, 1));
            block.extend([refuse, again]);
            block
        }
        Condition::WhereNoneOf(first, is, arg, values) => {
            let inner = values.len() + 2; // load, comparisons, refusal
            let mut block = vec![
                op(LOAD, argument(first)),
                jump(EQUAL, is, 0, u8::try_from(inner).unwrap_or(u8::MAX)),
                op(LOAD, argument(arg)),
            ];
            block.extend(compare(values, 1));
            block.extend([refuse, again]);
            block
        }
        Condition::WhereGiven(first, is, arg) => vec![
            op(LOAD, argument(first)),
            jump(EQUAL, is, 0, 5),
            op(LOAD, argument(arg)),
            jump(EQUAL, 0, 0, 2),
            op(LOAD, upper_half(arg)),
            jump(EQUAL, 0, 1, 0),
            refuse,
            again,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the few operations that the compiler emits.
    fn run(code: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        for a in arguments {
            data.extend(a.to_le_bytes());
        }
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let i = code[at];
            at += 1;
            let taken = match i.code {
                LOAD => {
                    let k = i.k as usize;
                    acc = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                    continue;
                }
                RETURN => return i.k,
                JUMP => {
                    at += i.k as usize;
                    continue;
                }
                AT_LEAST => acc >= i.k,
                EQUAL => acc == i.k,
                ABOVE => acc > i.k,
                ANY_BIT => acc & i.k != 0,
                other => panic!("unknown operation {other:#x}"),
            };
            at += usize::from(if taken { i.jt } else { i.jf });
        }
    }

    fn verdict(number: u32, arguments: [u64; 6]) -> u32 {
        run(&program(Notify::Calls), ARCHITECTURE, number, arguments)
    }

    fn number_of(name: &str) -> u32 {
        TABLE.iter().find(|r| r.name == name).unwrap().number
    }

    #[test]
    fn every_row_refuses_and_says_why() {
        for row in TABLE {
            assert!(row.reason.len() > 5, "{}", row.name);
            let args = match row.condition {
                Condition::Always => [0; 6],
                Condition::AnyBit(a, bits) => with(a, u64::from(bits & bits.wrapping_neg())),
                Condition::OneOf(a, values) => with(a, u64::from(*values.last().unwrap())),
                Condition::NoneOf(a, _) => with(a, 0x1234),
                Condition::WhereNoneOf(a, is, b, _) => {
                    let mut args = with(a, u64::from(is));
                    args[usize::from(b)] = 0x1234;
                    args
                }
                Condition::WhereGiven(a, is, b) => {
                    let mut args = with(a, u64::from(is));
                    args[usize::from(b)] = 1 << 32; // a pointer whose lower half is 0
                    args
                }
            };
            assert_eq!(verdict(row.number, args), ERRNO | u32::from(row.errno), "{}", row.name);
        }
    }

    fn with(index: u8, value: u64) -> [u64; 6] {
        let mut args = [0; 6];
        args[usize::from(index)] = value;
        args
    }

    #[test]
    fn conditions_leave_the_rest_alone() {
        assert_eq!(verdict(number_of("ioctl"), with(1, 0x5401)), ALLOW);
        assert_eq!(verdict(number_of("ioctl"), with(1, 0)), ALLOW);
        assert_eq!(verdict(number_of("socket"), with(0, 2)), ALLOW);
        assert_eq!(verdict(number_of("socket"), with(0, 16)), ALLOW);
        let mut sock_diag = with(0, 16);
        sock_diag[2] = 4;
        assert_eq!(verdict(number_of("socket"), sock_diag), ALLOW);
        assert_eq!(verdict(number_of("clone"), with(0, 0x003d_0f00)), ALLOW);
        assert_eq!(verdict(number_of("personality"), with(0, 0x4_0000)), ALLOW);
        assert_eq!(verdict(number_of("prlimit64"), with(1, 4)), ALLOW, "only asks");
        assert_eq!(verdict(number_of("prlimit64"), with(2, 0x7fff_1234)), ALLOW, "another limit");
        assert_eq!(verdict(0, [0; 6]), ALLOW);
    }

    #[test]
    fn the_upper_half_of_an_argument_hides_nothing() {
        assert_eq!(verdict(number_of("ioctl"), with(1, 0xdead_beef_0000_5412)), ERRNO | 1);
        assert_eq!(verdict(number_of("socket"), with(0, 0x1_0000_0028)), ERRNO | 97);
    }

    #[test]
    fn other_architectures_and_newer_calls() {
        assert_eq!(run(&program(Notify::Calls), 0x4000_0003, 0, [0; 6]), KILL_PROCESS);
        assert_eq!(verdict(HIGHEST + 1, [0; 6]), ERRNO | ENOSYS);
        assert_eq!(verdict(0x4000_0000 | number_of("mount"), [0; 6]), ERRNO | ENOSYS, "x32");
    }

    #[test]
    fn notified_calls_are_notified_to_the_monitor_and_not_for_the_helper() {
        for number in RENAMES.iter().chain(EXECS).chain(CONNECTS) {
            assert_eq!(verdict(*number, [0; 6]), USER_NOTIF);
            assert_eq!(run(&program(Notify::Nothing), ARCHITECTURE, *number, [0; 6]), ALLOW);
        }
    }
}
