//! `coffer`: the runtime in which AI coding agents work on a developer's laptop.

mod cli;
mod commands;
mod exit;
mod failure;
mod host;
mod output;
mod pager;
mod progress;
mod run;

use std::process::ExitCode;

use cofferdam_runtime::{broker, gateway, keeper, ledger};

fn main() -> ExitCode {
    let name = cofferdam_sys::argv::arguments().next();
    if name.is_some_and(|name| name.to_bytes() == gateway::NAME.as_bytes()) {
        cofferdam_sys::exec::exit_now(gateway::main());
    }
    if name.is_some_and(|name| name.to_bytes() == broker::NAME.as_bytes()) {
        let status = host::home().map_or(1, |home| broker::main(std::env::vars_os(), home));
        cofferdam_sys::exec::exit_now(status);
    }
    if name.is_some_and(|name| name.to_bytes() == ledger::NAME.as_bytes()) {
        cofferdam_sys::exec::exit_now(ledger::main());
    }
    if name.is_some_and(|name| name.to_bytes() == keeper::NAME.as_bytes()) {
        cofferdam_sys::exec::exit_now(keeper::main());
    }
    // Before anything is read: what this process does not know yet cannot be found in an enclosure's init.
    let early = run::split_early();
    cli::main(early)
}
