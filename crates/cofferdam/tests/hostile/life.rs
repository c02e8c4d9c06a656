//! Living on: daemons, stopped and deaf processes, floods of processes. And helpers that hold a place for others.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Loot, check};

/// Nothing started here outlives a test run by more than this, whatever goes wrong.
const LONGEST: Duration = Duration::from_secs(100);

pub fn attack(name: &str, args: &[&str]) -> Option<Loot> {
    Some(match (name, args) {
        ("hive", [marker]) => hive(marker).map(|()| String::new()),
        ("hive-and-work", [marker]) => hive(marker).and_then(|()| work()),
        ("linger", [_, how]) => linger(how),
        ("fork-bomb", [most]) => most.parse().map_err(io::Error::other).and_then(fork_bomb),
        ("on-terminal", [program, rest @ ..]) => on_terminal(program, rest),
        ("exit-by-signal", [number]) => number.parse().map_err(io::Error::other).and_then(|n: i32| {
            // SAFETY: no pointers; ends or stops this process.
            check(libc::c_long::from(unsafe { libc::kill(libc::getpid(), n) })).map(|_| String::new())
        }),
        _ => return None,
    })
}

/// Leaves three processes behind that carry `marker` in their arguments: a deaf daemon in a session of its own, a stopped
/// one, and a plain child.
fn hive(marker: &str) -> io::Result<()> {
    let program = std::env::current_exe()?;
    for how in ["deaf-daemon", "stopped", "plain"] {
        Command::new(&program)
            .args(["linger", marker, how])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
    }
    // Until all three stand as they should.
    std::thread::sleep(Duration::from_millis(60));
    Ok(())
}

/// Changes the tree until it is killed.
fn work() -> Loot {
    let begun = Instant::now();
    let mut round = 0u64;
    while begun.elapsed() < LONGEST {
        round += 1;
        std::fs::write("kept.txt", format!("hostile round {round}\n"))?;
        std::fs::write(format!("new-{}", round % 50), b"hostile")?;
        let _ = std::fs::rename(format!("new-{}", round % 50), format!("dir/moved-{}", round % 50));
        let _ = std::fs::remove_file("doomed.txt");
    }
    Ok(String::new())
}

fn linger(how: &str) -> Loot {
    // SAFETY: signal dispositions, fork and setsid of a single-threaded process.
    unsafe {
        if how == "deaf-daemon" {
            for _ in 0..2 {
                if libc::fork() != 0 {
                    libc::_exit(0);
                }
                libc::setsid();
            }
            for signal in 1..=64 {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
        if how == "stopped" {
            libc::raise(libc::SIGSTOP);
        }
    }
    std::thread::sleep(LONGEST);
    Ok(String::new())
}

/// How many children could be had at once. Ends them all.
fn fork_bomb(most: usize) -> Loot {
    let mut children = Vec::new();
    let mut why = String::from("enough");
    while children.len() < most {
        // SAFETY: the child of this single-threaded process only waits.
        match check(libc::c_long::from(unsafe { libc::fork() })) {
            // SAFETY: as above.
            Ok(0) => unsafe {
                libc::sleep(30);
                libc::_exit(0)
            },
            Ok(pid) => children.push(i32::try_from(pid).unwrap_or(-1)),
            Err(e) => {
                why = e.to_string();
                break;
            }
        }
    }
    let count = children.len();
    for child in children {
        // SAFETY: ends and reaps our own children.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    if count == most { Ok(count.to_string()) } else { Err(io::Error::other(format!("{count} children, then {why}"))) }
}

/// Becomes a session leader with the terminal of standard input, then the program: what a terminal emulator does.
fn on_terminal(program: &str, args: &[&str]) -> Loot {
    io::stdout().flush()?;
    // SAFETY: no pointers.
    unsafe {
        check(libc::c_long::from(libc::setsid()))?;
        check(libc::c_long::from(libc::ioctl(0, libc::TIOCSCTTY, 0)))?;
    }
    Err(Command::new(program).args(args).exec())
}
