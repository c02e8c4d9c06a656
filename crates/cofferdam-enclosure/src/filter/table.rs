//! Which system calls an enclosure is refused, and why. Read top to bottom; a reason that does not convince is a bug.
//!
//! Left open on purpose: `ptrace`, `process_vm_*`, `pidfd_*` (debuggers of one's own processes are everyday work; the
//! pid namespace and Landlock keep them to those), `clone3` (its flags lie in memory; nested user namespaces are
//! forbidden by `max_user_namespaces` instead), `seccomp` and `landlock_*` (a program may confine itself further).

use libc_numbers as n;

/// When a row refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// Where argument `.0`, as 32 bits, has one of these bits.
    AnyBit(u8, u32),
    /// Where argument `.0`, as 32 bits, is one of these.
    OneOf(u8, &'static [u32]),
    /// Where argument `.0`, as 32 bits, is none of these.
    NoneOf(u8, &'static [u32]),
    /// Where argument `.0` is `.1` and argument `.2` is none of these, each as 32 bits.
    WhereNoneOf(u8, u32, u8, &'static [u32]),
    /// Where argument `.0` is `.1`, as 32 bits, and argument `.2`, as 64 bits, is not 0.
    WhereGiven(u8, u32, u8),
}

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The call's name.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: u32,
    /// When.
    pub condition: Condition,
    /// The error the caller sees.
    pub errno: u16,
    /// Why.
    pub reason: &'static str,
}

/// The highest number that this table was reviewed against (`file_setattr`, Linux 6.17). A newer call is told ENOSYS, as
/// by an older kernel: programs know how to live with that.
pub const HIGHEST: u32 = 469;

/// Notified to the monitor: the kernel refuses to rename a directory of a lower layer (EXDEV), and the monitor has it
/// moved.
pub const RENAMES: &[u32] = n::RENAMES;

/// Notified to the monitor, which records each that succeeds.
pub const EXECS: &[u32] = &[n::EXECVE, n::EXECVEAT];

/// Notified to the monitor, which learns whose socket it is that connects.
pub const CONNECTS: &[u32] = &[n::CONNECT];

/// No error: the call reports success without having been made.
const DONE: u16 = 0;
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EPROTONOSUPPORT: u16 = 93;
const EAFNOSUPPORT: u16 = 97;

/// `CLONE_NEW*` of `clone(2)`.
const NEW_NAMESPACES: u32 = 0x7e02_0080;

const fn row(name: &'static str, number: u32, errno: u16, reason: &'static str) -> Row {
    Row { name, number, condition: Condition::Always, errno, reason }
}

/// `RLIMIT_CORE` of `getrlimit(2)`.
const CORE: u32 = 4;
const NO_HANDLER: &str = "the limit of core dumps stays 1: at any other, 0 too, a handler named in core_pattern would be \
                          started on the host, as root, with the memory of a hostile process (core(5))";
const MOUNTS: &str = "changes what is mounted: the view is fixed when the command starts";
const MODULES: &str = "loads or unloads kernel code";
const CLOCK: &str = "sets the host's clock";
const KEYS: &str = "the kernel's keyrings are the person's, not the enclosure's: they are not separated by namespaces";
const OBSOLETE: &str = "obsolete, attack surface without users";
const URING: &str = "carries out system calls that this filter would not see";

/// The refusals.
pub const TABLE: &[Row] = &[
    // With conditions first: the kernel runs the program for these calls every time.
    Row {
        name: "ioctl",
        number: n::IOCTL,
        // TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS
        condition: Condition::OneOf(1, &[0x5412, 0x541c, 0x5423, 0x541d]),
        errno: EPERM,
        reason: "types into or reads from a terminal on behalf of the person, or changes its line discipline",
    },
    Row {
        name: "socket",
        number: n::SOCKET,
        // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
        condition: Condition::NoneOf(0, &[1, 2, 10, 16]),
        errno: EAFNOSUPPORT,
        reason: "families beyond the local and IP ones are rarely separated by network namespaces (vsock reaches the \
                 hypervisor) and are kernel attack surface",
    },
    Row {
        name: "socket",
        number: n::SOCKET,
        // AF_NETLINK with NETLINK_ROUTE or NETLINK_SOCK_DIAG
        condition: Condition::WhereNoneOf(0, 16, 2, &[0, 4]),
        errno: EPROTONOSUPPORT,
        reason: "netlink beyond interfaces and socket lists configures the kernel: attack surface",
    },
    Row {
        name: "clone",
        number: n::CLONE,
        condition: Condition::AnyBit(0, NEW_NAMESPACES),
        errno: EPERM,
        reason: "a namespace of its own gives a program capabilities over kernel code that it otherwise cannot reach",
    },
    Row {
        name: "unshare",
        number: n::UNSHARE,
        condition: Condition::AnyBit(0, NEW_NAMESPACES),
        errno: EPERM,
        reason: "as clone",
    },
    Row {
        name: "personality",
        number: n::PERSONALITY,
        // PER_LINUX, PER_LINUX32, UNAME26 with either, ADDR_NO_RANDOMIZE (debuggers), the query
        condition: Condition::NoneOf(0, &[0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0xffff_ffff]),
        errno: EPERM,
        reason: "other execution domains switch protections off",
    },
    // Told that it is done: programs that guard a secret set the limit to 0 and give up where that fails.
    Row {
        name: "prlimit64",
        number: n::PRLIMIT64,
        // RLIMIT_CORE with a new value
        condition: Condition::WhereGiven(1, CORE, 2),
        errno: DONE,
        reason: NO_HANDLER,
    },
    #[cfg(target_arch = "x86_64")]
    Row { name: "setrlimit", number: 160, condition: Condition::OneOf(0, &[CORE]), errno: DONE, reason: NO_HANDLER },
    row("setns", n::SETNS, EPERM, "enters namespaces that are not the enclosure's"),
    row("mount", n::MOUNT, EPERM, MOUNTS),
    row("umount2", n::UMOUNT2, EPERM, MOUNTS),
    row("pivot_root", n::PIVOT_ROOT, EPERM, MOUNTS),
    row("chroot", n::CHROOT, EPERM, MOUNTS),
    row("open_tree", n::OPEN_TREE, EPERM, MOUNTS),
    row("open_tree_attr", 467, EPERM, MOUNTS),
    row("move_mount", n::MOVE_MOUNT, EPERM, MOUNTS),
    row("fsopen", n::FSOPEN, EPERM, MOUNTS),
    row("fsconfig", n::FSCONFIG, EPERM, MOUNTS),
    row("fsmount", n::FSMOUNT, EPERM, MOUNTS),
    row("fspick", n::FSPICK, EPERM, MOUNTS),
    row("mount_setattr", n::MOUNT_SETATTR, EPERM, MOUNTS),
    row("swapon", n::SWAPON, EPERM, "host administration"),
    row("swapoff", n::SWAPOFF, EPERM, "host administration"),
    row("quotactl", n::QUOTACTL, EPERM, "host administration"),
    row("quotactl_fd", n::QUOTACTL_FD, EPERM, "host administration"),
    row("acct", n::ACCT, EPERM, "host administration"),
    row("reboot", n::REBOOT, EPERM, "host administration"),
    row("vhangup", n::VHANGUP, EPERM, "host administration"),
    row("sethostname", n::SETHOSTNAME, EPERM, "the name is part of the view"),
    row("setdomainname", n::SETDOMAINNAME, EPERM, "the name is part of the view"),
    row("syslog", n::SYSLOG, EPERM, "reads the kernel's log: addresses and other people's doings"),
    row("kexec_load", n::KEXEC_LOAD, EPERM, MODULES),
    row("kexec_file_load", n::KEXEC_FILE_LOAD, EPERM, MODULES),
    row("init_module", n::INIT_MODULE, EPERM, MODULES),
    row("finit_module", n::FINIT_MODULE, EPERM, MODULES),
    row("delete_module", n::DELETE_MODULE, EPERM, MODULES),
    row("settimeofday", n::SETTIMEOFDAY, EPERM, CLOCK),
    row("clock_settime", n::CLOCK_SETTIME, EPERM, CLOCK),
    row("clock_adjtime", n::CLOCK_ADJTIME, EPERM, CLOCK),
    row("adjtimex", n::ADJTIMEX, EPERM, CLOCK),
    row("add_key", n::ADD_KEY, EPERM, KEYS),
    row("request_key", n::REQUEST_KEY, EPERM, KEYS),
    row("keyctl", n::KEYCTL, EPERM, KEYS),
    row("bpf", n::BPF, EPERM, "runs code in the kernel"),
    row("perf_event_open", n::PERF_EVENT_OPEN, EPERM, "watches the kernel and other processes; a long record of flaws"),
    row("userfaultfd", n::USERFAULTFD, EPERM, "stops the kernel in the middle of a copy: makes races in it winnable"),
    row("io_uring_setup", n::IO_URING_SETUP, ENOSYS, URING),
    row("io_uring_enter", n::IO_URING_ENTER, ENOSYS, URING),
    row("io_uring_register", n::IO_URING_REGISTER, ENOSYS, URING),
    row(
        "open_by_handle_at",
        n::OPEN_BY_HANDLE_AT,
        EPERM,
        "opens files without walking a path: past mounts and Landlock",
    ),
    row("fanotify_init", n::FANOTIFY_INIT, EPERM, "watches whole file systems"),
    row("lookup_dcookie", n::LOOKUP_DCOOKIE, ENOSYS, OBSOLETE),
    row("nfsservctl", n::NFSSERVCTL, ENOSYS, OBSOLETE),
    row("lsm_set_self_attr", 460, EPERM, "changes the security label of the process"),
    #[cfg(target_arch = "x86_64")]
    row("iopl", 172, EPERM, "direct access to hardware ports"),
    #[cfg(target_arch = "x86_64")]
    row("ioperm", 173, EPERM, "direct access to hardware ports"),
    #[cfg(target_arch = "x86_64")]
    row("modify_ldt", 154, ENOSYS, "16-bit segments: kernel entry code with a record of flaws"),
    #[cfg(target_arch = "x86_64")]
    row("uselib", 134, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("ustat", 136, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("sysfs", 139, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("_sysctl", 156, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("create_module", 174, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("get_kernel_syms", 177, ENOSYS, OBSOLETE),
    #[cfg(target_arch = "x86_64")]
    row("query_module", 178, ENOSYS, OBSOLETE),
];

/// Numbers of this architecture, narrowed once.
mod libc_numbers {
    macro_rules! numbers {
        ($($name:ident = $sys:ident),* $(,)?) => {
            $(pub const $name: u32 = linux_raw_sys::general::$sys;)*
        };
    }
    numbers! {
        IOCTL = __NR_ioctl, CONNECT = __NR_connect, SOCKET = __NR_socket, CLONE = __NR_clone, UNSHARE = __NR_unshare,
        PERSONALITY = __NR_personality, SETNS = __NR_setns, MOUNT = __NR_mount, UMOUNT2 = __NR_umount2,
        PIVOT_ROOT = __NR_pivot_root, CHROOT = __NR_chroot, OPEN_TREE = __NR_open_tree, MOVE_MOUNT = __NR_move_mount,
        FSOPEN = __NR_fsopen, FSCONFIG = __NR_fsconfig, FSMOUNT = __NR_fsmount, FSPICK = __NR_fspick,
        MOUNT_SETATTR = __NR_mount_setattr, SWAPON = __NR_swapon, SWAPOFF = __NR_swapoff, QUOTACTL = __NR_quotactl,
        QUOTACTL_FD = __NR_quotactl_fd, ACCT = __NR_acct, REBOOT = __NR_reboot, VHANGUP = __NR_vhangup,
        SETHOSTNAME = __NR_sethostname, SETDOMAINNAME = __NR_setdomainname, SYSLOG = __NR_syslog,
        KEXEC_LOAD = __NR_kexec_load, KEXEC_FILE_LOAD = __NR_kexec_file_load, INIT_MODULE = __NR_init_module,
        FINIT_MODULE = __NR_finit_module, DELETE_MODULE = __NR_delete_module, SETTIMEOFDAY = __NR_settimeofday,
        CLOCK_SETTIME = __NR_clock_settime, CLOCK_ADJTIME = __NR_clock_adjtime, ADJTIMEX = __NR_adjtimex,
        ADD_KEY = __NR_add_key, REQUEST_KEY = __NR_request_key, KEYCTL = __NR_keyctl, BPF = __NR_bpf,
        PERF_EVENT_OPEN = __NR_perf_event_open, USERFAULTFD = __NR_userfaultfd,
        IO_URING_SETUP = __NR_io_uring_setup, IO_URING_ENTER = __NR_io_uring_enter,
        IO_URING_REGISTER = __NR_io_uring_register, OPEN_BY_HANDLE_AT = __NR_open_by_handle_at,
        FANOTIFY_INIT = __NR_fanotify_init, LOOKUP_DCOOKIE = __NR_lookup_dcookie, NFSSERVCTL = __NR_nfsservctl,
        PRLIMIT64 = __NR_prlimit64, EXECVE = __NR_execve, EXECVEAT = __NR_execveat, RENAMEAT = __NR_renameat, RENAMEAT2 = __NR_renameat2,
    }
    #[cfg(target_arch = "x86_64")]
    pub const RENAMES: &[u32] = &[linux_raw_sys::general::__NR_rename, RENAMEAT, RENAMEAT2];
    #[cfg(not(target_arch = "x86_64"))]
    pub const RENAMES: &[u32] = &[RENAMEAT, RENAMEAT2];
}
