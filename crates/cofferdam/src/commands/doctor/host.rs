//! What this machine offers, and the exact fix where it does not.

use cofferdam_runtime::store::Store;

use super::Check;

/// The facts that a run rests on.
pub fn examine(store: &Store) -> Vec<Check> {
    vec![kernel(), user_namespaces(), landlock(), seccomp(), yama(), overlay(store)]
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut check = Check::new("Linux 5.19 or newer", version >= (5, 19), release);
    check.fix =
        Some("coffer needs mount_setattr, Landlock ABI 2 and seccomp's WAIT_KILLABLE_RECV: update the kernel".into());
    check
}

fn sysctl(path: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/{path}")).ok().map(|v| v.trim().to_owned())
}

fn user_namespaces() -> Check {
    let name = "user namespaces for ordinary users";
    if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        let mut check = Check::new(name, false, "AppArmor grants them without capabilities (Ubuntu 23.10 and newer)");
        let binary = std::env::current_exe().map_or("/usr/local/bin/coffer".to_owned(), |p| p.display().to_string());
        check.fix = Some(format!(
            "as root, write /etc/apparmor.d/coffer:\n\
             \n    abi <abi/4.0>,\n    include <tunables/global>\n    profile coffer {binary} flags=(unconfined) {{\n      \
             userns,\n    }}\n\nthen: sudo apparmor_parser -r /etc/apparmor.d/coffer"
        ));
        // A profile may be there already: what was tried below decides.
        return check;
    }
    for (path, off, fix) in [
        ("kernel/unprivileged_userns_clone", "0", "as root: sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "as root: sysctl user.max_user_namespaces=15000"),
    ] {
        if sysctl(path).as_deref() == Some(off) {
            let mut check = Check::new(name, false, format!("{} is {off}", path.replace('/', ".")));
            check.fix = Some(fix.to_owned());
            return check;
        }
    }
    let most = sysctl("user/max_user_namespaces").unwrap_or_else(|| "unknown".to_owned());
    Check::new(name, true, format!("at most {most}"))
}

fn landlock() -> Check {
    let (holds, seen) = match cofferdam_sys::landlock::abi() {
        Ok(abi) => (
            abi >= 2,
            format!(
                "ABI {abi}{}",
                if abi < 6 { ": signals and abstract sockets are held by the namespaces alone" } else { "" }
            ),
        ),
        Err(e) => (false, e.to_string()),
    };
    let mut check = Check::new("Landlock ABI 2 or newer", holds, seen);
    check.fix = Some("boot with landlock in the kernel's lsm= list, or update to Linux 5.19 or newer".to_owned());
    check
}

fn seccomp() -> Check {
    let actions = sysctl("kernel/seccomp/actions_avail").unwrap_or_default();
    let mut check = Check::new(
        "seccomp with notifications",
        actions.split(' ').any(|a| a == "user_notif"),
        if actions.is_empty() { "none".to_owned() } else { actions },
    );
    check.fix = Some("the kernel must be built with CONFIG_SECCOMP_FILTER".to_owned());
    check
}

fn yama() -> Check {
    let seen = match sysctl("kernel/yama/ptrace_scope") {
        Some(scope) => format!("Yama's ptrace_scope is {scope}"),
        None => "no Yama".to_owned(),
    };
    Check::new("debuggers of one's own processes", !seen.ends_with('3'), seen)
}

fn overlay(store: &Store) -> Check {
    let name = "a file system that carries layers";
    let dir = store.root().ancestors().find(|d| d.is_dir());
    let Some(dir) = dir else { return Check::new(name, false, "the store has no parent directory") };
    let kind = match rustix::fs::statfs(dir) {
        Ok(stat) => match stat.f_type as u32 {
            0xef53 => "ext4",
            0x5846_5342 => "xfs",
            0x9123_683e => "btrfs",
            0x0102_1994 => "tmpfs",
            0x6969 => "nfs",
            0x794c_7630 => "overlayfs",
            0x2fc1_2fc1 => "zfs",
            0x0102_1997 => "9p",
            _ => "another file system",
        },
        Err(_) => "unknown",
    };
    let mut check =
        Check::new(name, !matches!(kind, "nfs" | "overlayfs" | "9p"), format!("{kind} at {}", dir.display()));
    check.fix = Some("set XDG_STATE_HOME to a directory on a local file system (ext4, xfs, btrfs, tmpfs)".to_owned());
    check
}
