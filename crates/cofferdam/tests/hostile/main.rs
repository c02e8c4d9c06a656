//! A dispatcher of attacks for the integration tests: `hostile ATTACK ARGS…`.
//!
//! The same program runs outside, where an attack must succeed, and inside an enclosure, where it must not. It prints
//! `won …` with what it achieved, or `lost …` with the system's words, and exits 0 or 1 accordingly. Built with the
//! tests as an example, linked statically like `coffer` itself, and copied into the project under attack.
#![allow(unsafe_code, reason = "an attack program: raw system calls are its business")]
#![allow(clippy::print_stdout, reason = "standard output is how it reports to the test")]

mod decoys;
mod disk;
mod exec;
mod files;
mod gateway;
mod life;
mod memory;
mod network;
mod outside;
mod owners;
mod sockets;
mod surface;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

/// What an attack achieved, in words for the test to look for.
pub type Loot = io::Result<String>;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|a| a == "as-own-root") {
        args.remove(0);
        if let Err(e) = surface::become_root_of_own_namespaces() {
            println!("lost as-own-root: {e}");
            return ExitCode::FAILURE;
        }
    }
    let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let Some((attack, rest)) = words.split_first() else {
        println!("lost: no attack named");
        return ExitCode::FAILURE;
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match [
        decoys::attack,
        disk::attack,
        exec::attack,
        files::attack,
        memory::attack,
        network::attack,
        outside::attack,
        owners::attack,
        gateway::attack,
        life::attack,
        sockets::attack,
        surface::attack,
    ]
    .into_iter()
    .find_map(|room| room(attack, &rest))
    {
        Some(Ok(loot)) => {
            println!("won {attack} {loot}");
            ExitCode::SUCCESS
        }
        Some(Err(e)) => {
            println!("lost {attack}: {e}");
            ExitCode::FAILURE
        }
        None => {
            println!("lost: no attack is called {attack}");
            ExitCode::from(2)
        }
    }
}

/// The result of a raw system call.
pub fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An attack whose parts all failed.
pub fn nothing(what: &str) -> io::Error {
    io::Error::other(format!("{what}: nothing"))
}
