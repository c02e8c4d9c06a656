//! The gateway's own confinement: arbitrary code in it reads no file of the person's, writes none, executes nothing, and
//! opens no socket but TCP and UDP.
//!
//! Two layers that do not depend on each other: Landlock (`landlock(7)`) closes the file system but for what looking up
//! names needs, and seccomp (`seccomp(2)`) allows the system calls of a network server, and answers all others with
//! ENOSYS, as a kernel without them would.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr as _, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::error::GatewayError;

/// What `getaddrinfo(3)` reads. Modules of the name service switch lie elsewhere: none is loaded.
const READABLE: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/services",
    "/run/systemd/resolve",
];

fn failed(step: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> GatewayError {
    move |problem| GatewayError::Confine { step, problem: problem.to_string() }
}

/// Nobody reads this process's memory, nor a copy of it on the disk.
///
/// # Errors
/// Those of `prctl(2)` and `setrlimit(2)`.
pub(crate) fn limits() -> Result<(), GatewayError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| failed("dumpable")(&e))?;
    // 1, not 0: a handler in core_pattern is skipped only at 1 (core(5)).
    let now = rustix::process::getrlimit(Resource::Core);
    if now.maximum.is_none_or(|most| most > 1) {
        let limit = Rlimit { current: Some(1), maximum: Some(1) };
        rustix::process::setrlimit(Resource::Core, limit).map_err(|e| failed("core dumps")(&e))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("no new privileges")(&e))
}

/// Raises the soft limit of descriptors to the hard one (`RLIMIT_NOFILE`); how many this process may have now. Nothing in
/// it uses `select(2)`, for whose sake the soft limit usually is 1,024.
///
/// # Errors
/// Those of `setrlimit(2)`.
pub(crate) fn descriptors() -> Result<u64, GatewayError> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit).map_err(|e| failed("descriptors")(&e))?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Confines this process for good: before it has a second thread.
///
/// # Errors
/// Where a layer cannot be had.
pub(crate) fn confine() -> Result<(), GatewayError> {
    files().map_err(|e| failed("Landlock")(&e))?;
    let program = program().map_err(|e| failed("seccomp")(&e))?;
    seccompiler::apply_filter(&program).map_err(|e| failed("seccomp")(&e))
}

fn files() -> Result<(), landlock::RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V7))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for path in READABLE {
        // What is not there is not read.
        let Ok(fd) = PathFd::new(path) else { continue };
        let directory = std::path::Path::new(path).is_dir();
        let access = if directory { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// System calls that are allowed whatever their arguments are.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_splice,
    libc::SYS_pipe2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_openat,
    libc::SYS_faccessat,
    libc::SYS_getdents64,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_dup,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// `CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD` (`clone(2)`): a thread of this process.
const THREAD: u64 = 0x0001_0f00;
/// `PROT_EXEC`.
const EXECUTE: u64 = 4;

fn program() -> Result<BpfProgram, Box<dyn std::error::Error>> {
    let is = |index, op, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let mut allow = |call, conditions: Vec<SeccompCondition>| -> Result<(), Box<dyn std::error::Error>> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            // The low byte: flags stand above it (socket(2)).
            allow(
                libc::SYS_socket,
                vec![is(0, SeccompCmpOp::Eq, family as u64)?, is(1, SeccompCmpOp::MaskedEq(0xff), kind as u64)?],
            )?;
        }
    }
    // clone3(2), whose arguments lie in memory, is answered with ENOSYS: the C library takes this one then.
    allow(libc::SYS_clone, vec![is(0, SeccompCmpOp::MaskedEq(THREAD), THREAD)?])?;
    // Memory becomes readable and writable, never executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allow(call, vec![is(2, SeccompCmpOp::MaskedEq(EXECUTE), 0)?])?;
    }
    allow(libc::SYS_prctl, vec![is(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?])?;
    allow(libc::SYS_prctl, vec![is(0, SeccompCmpOp::Eq, 0x5356_4d41)?])?; // PR_SET_VMA, names of memory
    for request in [libc::FIONBIO, libc::FIONREAD] {
        allow(libc::SYS_ioctl, vec![is(1, SeccompCmpOp::Eq, request)?])?;
    }
    for command in [
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_SETPIPE_SZ,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ] {
        allow(libc::SYS_fcntl, vec![is(1, SeccompCmpOp::Eq, command as u64)?])?;
    }
    // Reading limits: the new ones are none.
    allow(
        libc::SYS_prlimit64,
        vec![is(0, SeccompCmpOp::Eq, 0)?, SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?],
    )?;
    // To abort(3): this process only, which is the kernel's check of the first argument.
    allow(libc::SYS_tgkill, vec![is(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?])?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;
    use std::process::Command;

    use rustix::net::{AddressFamily, SocketType, netlink, socket};
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    const CHILD: &str = "COFFER_TEST_CONFINED";

    /// What code in the gateway could try, by name; `true` where it got its way.
    fn attempts(secret: &std::path::Path, parent: Pid) -> Vec<(&'static str, bool)> {
        let name = |stem: &str| secret.with_file_name(stem);
        vec![
            ("reading a file of the person's", File::open(secret).is_ok()),
            ("reading /etc/passwd", File::open("/etc/passwd").is_ok()),
            ("reading its own memory", File::open("/proc/self/mem").is_ok()),
            ("listing a directory", std::fs::read_dir("/").is_ok()),
            ("making a file", File::create(name("made")).is_ok()),
            ("writing to a file", OpenOptions::new().append(true).open(secret).is_ok()),
            ("making a directory", std::fs::create_dir(name("directory")).is_ok()),
            ("removing a file", std::fs::remove_file(secret).is_ok()),
            ("renaming a file", std::fs::rename(secret, name("renamed")).is_ok()),
            ("making a link", std::os::unix::fs::symlink(secret, name("link")).is_ok()),
            ("executing a program", Command::new("/bin/true").status().is_ok()),
            ("a socket of the host's", UnixDatagram::unbound().is_ok()),
            ("netlink", socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG)).is_ok()),
            ("packets", socket(AddressFamily::PACKET, SocketType::RAW, None).is_ok()),
            ("raw packets", socket(AddressFamily::INET, SocketType::RAW, Some(rustix::net::ipproto::ICMP)).is_ok()),
            ("a signal to another process", kill_process(parent, Signal::WINCH).is_ok()),
            ("another root", rustix::process::chroot("/").is_ok()),
        ]
    }

    fn child(secret: PathBuf) {
        let parent = std::env::var(CHILD).unwrap().parse().ok().and_then(Pid::from_raw).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        limits().unwrap();
        confine().unwrap();
        for (what, done) in attempts(&secret, parent) {
            println!("{} {what}", if done { "DONE" } else { "failed" });
        }
        // And what it is for still works, also in threads that are made afterwards.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(tokio::net::lookup_host("localhost:80")).map(Iterator::count);
        println!("looked up {:?}", found.is_ok_and(|count| count > 0));
        println!("connected {:?}", TcpStream::connect(listener.local_addr().unwrap()).is_ok());
        println!("datagrams {:?}", UdpSocket::bind("127.0.0.1:0").is_ok());
    }

    #[test]
    fn code_in_the_gateway_reads_writes_and_executes_nothing() {
        if let Some(secret) = std::env::var_os("COFFER_TEST_SECRET") {
            return child(PathBuf::from(secret));
        }
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        // What an ordinary user can do: it fails inside because of the confinement.
        let own = Pid::from_raw(std::process::id() as i32).unwrap();
        let outside = attempts(&secret, own);
        for (what, done) in outside.iter().take(7).chain([&outside[10], &outside[11], &outside[12], &outside[15]]) {
            assert!(done, "{what} does not work outside either");
        }
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let name = "confine::tests::code_in_the_gateway_reads_writes_and_executes_nothing";
        let got = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CHILD, std::process::id().to_string())
            .env("COFFER_TEST_SECRET", &secret)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&got.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&got.stderr);
        assert_eq!(said.matches("failed ").count(), outside.len(), "{said}\n{complaint}");
        assert!(!said.contains("DONE"), "{said}");
        for works in ["looked up true", "connected true", "datagrams true"] {
            assert!(said.contains(works), "{works}: {said}\n{complaint}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made or removed");
    }
}
