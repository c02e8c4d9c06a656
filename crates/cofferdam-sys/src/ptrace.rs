//! `ptrace(2)` as far as an exec stop needs it: attach without stopping, be told of an exec, let go.
//!
//! `PTRACE_SEIZE` takes the target's `cred_guard_mutex`, which an exec under way holds while it waits for its dead sibling
//! threads to be reaped, by us where we have seized them: a plain call can wait for itself. [`Watchdog::seize`] cannot.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::check;

/// Between two barks.
const BARK: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const STILL: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

fn request(request: libc::c_uint, tid: Pid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests used here (SEIZE, INTERRUPT, DETACH) dereferences `address` or `data`. Through
    // syscall(2), so that the watchdog finds the number in the register where the kernel expects it.
    check(unsafe {
        libc::syscall(libc::SYS_ptrace, request as libc::c_ulong, tid.as_raw_nonzero().get(), address, data)
    })
    .map(drop)
}

/// Becomes the tracer of a thread: it goes on running, stops at its next successful exec, and dies with its tracer
/// (`PTRACE_O_TRACEEXEC`, `PTRACE_O_EXITKILL`). Only for a target that has one thread: see the module.
///
/// # Errors
/// `EPERM` where it has a tracer already or may not be traced, `ESRCH` where it is gone.
pub fn seize(tid: Pid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE as _, tid, 0, options as usize)
}

/// Has a seized thread stop when it next returns to user mode; an exec under way is not disturbed (`PTRACE_INTERRUPT`).
///
/// # Errors
/// `ESRCH` where it is gone or stopped.
pub fn interrupt(tid: Pid) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT as _, tid, 0, 0)
}

/// Lets a stopped thread go, delivering `signal` where that is not 0. That it has died meanwhile is no error.
///
/// # Errors
/// Those of `PTRACE_DETACH` but `ESRCH`.
pub fn detach(tid: Pid, signal: i32) -> io::Result<()> {
    match request(libc::PTRACE_DETACH as _, tid, 0, usize::try_from(signal).unwrap_or(0)) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// The id that a thread in its exec stop had before the exec gave it the leader's (`PTRACE_GETEVENTMSG`).
///
/// # Errors
/// `ESRCH` where it was killed meanwhile.
pub fn former_thread(tid: Pid) -> io::Result<u32> {
    let mut former: libc::c_ulong = 0;
    // SAFETY: the kernel writes one `unsigned long` to `former`.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::PTRACE_GETEVENTMSG as libc::c_ulong,
            tid.as_raw_nonzero().get(),
            0usize,
            &raw mut former,
        )
    })?;
    u32::try_from(former).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Where the stack of a thread in a stop ends (`PTRACE_GETREGSET` of `NT_PRSTATUS`); `None` where it runs a program of
/// another architecture than ours, whose registers are others.
///
/// # Errors
/// `ESRCH` where it was killed meanwhile.
pub fn stack_pointer(tid: Pid) -> io::Result<Option<u64>> {
    // SAFETY: all members of the structure are integers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::user_regs_struct>();
    let mut vector = libc::iovec { iov_base: (&raw mut registers).cast(), iov_len: size };
    // SAFETY: `vector` describes `registers`, of which the kernel writes no more than its size, and lives as long.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::PTRACE_GETREGSET as libc::c_ulong,
            tid.as_raw_nonzero().get(),
            libc::NT_PRSTATUS as usize,
            &raw mut vector,
        )
    })?;
    #[cfg(target_arch = "x86_64")]
    let pointer = registers.rsp;
    #[cfg(target_arch = "aarch64")]
    let pointer = registers.sp;
    Ok((vector.iov_len == size).then_some(pointer))
}

/// What happened to a child or to a thread that is traced from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stands at the start of a new program.
    Executed,
    /// It stopped because it was interrupted, or with its group.
    Stopped,
    /// It is about to receive a signal.
    Signal(i32),
    /// It ended and has been reaped; the status as `waitpid(2)` gives it.
    Ended(i32),
}

/// The next change of any child or traced thread, where there is one now (`waitpid(2)` with `__WALL`).
///
/// # Errors
/// Those of `waitpid(2)` but `ECHILD`.
pub fn next_change() -> io::Result<Option<(Pid, Change)>> {
    let all = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned()) | WaitOptions::NOHANG;
    loop {
        return match rustix::process::wait(all) {
            Ok(Some((pid, status))) => Ok(Some((pid, change(status)))),
            Ok(None) | Err(Errno::CHILD) => Ok(None),
            Err(Errno::INTR) => continue,
            Err(e) => Err(e.into()),
        };
    }
}

fn change(status: WaitStatus) -> Change {
    let raw = status.as_raw();
    match status.stopping_signal() {
        None => Change::Ended(raw),
        Some(_) if raw >> 16 == libc::PTRACE_EVENT_EXEC => Change::Executed,
        Some(_) if raw >> 16 == libc::PTRACE_EVENT_STOP => Change::Stopped,
        Some(signal) => Change::Signal(signal),
    }
}

/// Keeps a `PTRACE_SEIZE` from waiting for ever: a timer that makes the call give up.
///
/// The kernel starts an interrupted `PTRACE_SEIZE` again by itself (`ERESTARTNOINTR`), so that a signal alone does not end
/// it: the handler steps the saved program counter over the call and puts `EINTR` in its result.
#[derive(Debug)]
pub struct Watchdog {
    timer: libc::timer_t,
}

static ARMED: AtomicBool = AtomicBool::new(false);

extern "C" fn bark(_signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if ARMED.load(Ordering::Relaxed) {
        // SAFETY: with SA_SIGINFO the kernel passes a `ucontext_t` of this thread, which nobody else uses meanwhile.
        unsafe { step_over_ptrace(&mut *context.cast::<libc::ucontext_t>()) };
    }
}

/// Where the thread was interrupted at the `syscall` instruction of a `ptrace`, not entered yet or to be entered again:
/// goes on behind it with `EINTR`.
///
/// # Safety
/// `context` is the interrupted state of this thread: its program counter points to mapped code.
#[cfg(target_arch = "x86_64")]
unsafe fn step_over_ptrace(context: &mut libc::ucontext_t) {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let registers = &mut context.uc_mcontext.gregs;
    let (counter, result) = (libc::REG_RIP as usize, libc::REG_RAX as usize);
    if registers[result] != libc::SYS_ptrace {
        return;
    }
    // SAFETY: the instruction that the thread is at lies in mapped code, and no instruction of one byte is followed by
    // an unmapped page in it.
    let instruction = unsafe { std::ptr::read_unaligned(registers[counter] as *const [u8; 2]) };
    if instruction == SYSCALL {
        registers[counter] += 2;
        registers[result] = -i64::from(libc::EINTR);
    }
}

/// As for `x86_64`; the instruction is `svc #0`, the number in x8, the result in x0.
///
/// # Safety
/// As for `x86_64`.
#[cfg(target_arch = "aarch64")]
unsafe fn step_over_ptrace(context: &mut libc::ucontext_t) {
    const SVC: u32 = 0xd400_0001;
    let state = &mut context.uc_mcontext;
    if state.regs[8] != libc::SYS_ptrace as u64 {
        return;
    }
    // SAFETY: the instruction that the thread is at lies in mapped code, aligned to its four bytes.
    if unsafe { std::ptr::read(state.pc as *const u32) } == SVC {
        state.pc += 4;
        state.regs[0] = (-i64::from(libc::EINTR)).cast_unsigned();
    }
}

impl Watchdog {
    /// For this thread, the only one that may use it: `SIGALRM` is its.
    ///
    /// # Errors
    /// Those of `sigaction(2)` and `timer_create(2)`.
    pub fn new() -> io::Result<Watchdog> {
        // SAFETY: the handler is async-signal-safe (it reads one atomic and changes the context it is given) and has the
        // signature that SA_SIGINFO asks for; all structures are initialised; `timer` is written by the call.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = bark as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            check(i64::from(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())))?;
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            let mut timer: libc::timer_t = std::ptr::null_mut();
            check(i64::from(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)))?;
            Ok(Watchdog { timer })
        }
    }

    /// [`seize`], for a target that may be in the middle of an exec: gives up after about a millisecond.
    ///
    /// # Errors
    /// `EINTR` where it gave up; otherwise as [`seize`].
    pub fn seize(&self, tid: Pid) -> io::Result<()> {
        ARMED.store(true, Ordering::Relaxed);
        let result = self.set(BARK).and_then(|()| seize(tid));
        let stilled = self.set(STILL);
        ARMED.store(false, Ordering::Relaxed);
        result.and(stilled)
    }

    fn set(&self, every: libc::timespec) -> io::Result<()> {
        let time = libc::itimerspec { it_interval: every, it_value: every };
        // SAFETY: `timer` is ours and lives; `time` is initialised; the old value is not asked for.
        check(i64::from(unsafe { libc::timer_settime(self.timer, 0, &raw const time, std::ptr::null_mut()) })).map(drop)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // SAFETY: `timer` is ours and is not used afterwards.
        unsafe { libc::timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own parent's mutex is free: the call returns at once, and not with EINTR.
    #[test]
    fn a_watched_call_has_the_error_of_a_plain_one() {
        let watchdog = Watchdog::new().unwrap();
        let own = rustix::process::getpid();
        assert_eq!(watchdog.seize(own).unwrap_err().raw_os_error(), Some(libc::EPERM), "a thread of its own");
        assert!(!ARMED.load(Ordering::Relaxed));
    }

    #[test]
    fn a_program_is_seized_stops_at_its_exec_and_goes_on() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read line; exec true"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        seize(pid).unwrap();
        drop(child.stdin.take());
        let all = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
        let (_, status) = rustix::process::waitpid(Some(pid), all).unwrap().unwrap();
        assert_eq!(change(status), Change::Executed);
        assert_eq!(former_thread(pid).unwrap(), child.id());
        // proc_pid_stat(5): field 28 is the start of the stack, which a new program's pointer is at.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let field = stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(28 - 3).unwrap().parse().unwrap();
        assert_eq!(stack_pointer(pid).unwrap(), Some(field));
        detach(pid, 0).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
