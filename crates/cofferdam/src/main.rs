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

use cofferdam_runtime::gateway;

fn main() -> ExitCode {
    if cofferdam_sys::argv::arguments().next().is_some_and(|name| name.to_bytes() == gateway::NAME.as_bytes()) {
        cofferdam_sys::exec::exit_now(gateway::main());
    }
    // Before anything is read: what this process does not know yet cannot be found in an enclosure's init.
    let early = run::split_early();
    cli::main(early)
}
