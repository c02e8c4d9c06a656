//! `coffer publish`.

use std::net::SocketAddr;
use std::process::ExitCode;

use cofferdam_core::Publish;
use cofferdam_runtime::control::{self, Reply, Request};
use cofferdam_runtime::publish::{self, Listening};

use super::{Answer, Target};
use crate::failure::Failure;
use crate::{host, output};

/// `coffer publish`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without HOSTADDR a port is published on this machine's loopback; without HOSTPORT at the same number \
    where it is free, else at a free one. It ends with the run.\n\nExamples:\n  coffer publish @ 5173\n  \
    coffer publish @ 8080:80\n  coffer publish @ 5173 --stop"
)]
pub struct PublishArgs {
    /// The run, which goes on
    #[arg(value_name = "RUN")]
    run: String,
    /// Ports inside, and where on this machine
    #[arg(required = true, value_name = "[HOSTADDR:][HOSTPORT:]PORT")]
    ports: Vec<Publish>,
    /// Publish them no more; connections end
    #[arg(long)]
    stop: bool,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Publishes ports of a run that goes on, or ends that.
pub fn publish(args: &PublishArgs) -> Answer {
    let host = host::host()?;
    let run = Target::find(&host, &host::store(&host), &args.run)?.run;
    let mut facts = Vec::new();
    for what in &args.ports {
        if args.stop {
            control::ask(&run, &Request::Unpublish { port: what.port }, &[]).map_err(Failure::new)?;
            facts.push(serde_json::json!({ "port": what.port, "published": false }));
            if !args.json {
                output::print(format!("port {} is not published any more\n", what.port))?;
            }
            continue;
        }
        let listening = listen(what)?;
        let files: Vec<_> = listening.descriptors().collect();
        let reply = control::ask(&run, &Request::Publish { port: what.port }, &files).map_err(Failure::new)?;
        let listens = if let Reply::Published { listens } = reply { listens } else { None };
        facts.push(serde_json::json!({ "port": what.port, "addresses": listening.addresses, "listens": listens }));
        if args.json {
            continue;
        }
        output::print(format!("{}\n", line(&listening)))?;
        if listens == Some(false) {
            output::remark(&format!(
                "nothing listens at port {} inside yet: connections are reset until something does",
                what.port
            ));
        }
        if let Some(warning) = warning(&listening) {
            output::remark(&warning);
        }
    }
    if args.json {
        output::json(&serde_json::json!({ "run": run.record.run, "ports": facts }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Listens on the host.
pub fn listen(what: &Publish) -> Result<Listening, Failure> {
    publish::listen(what).map_err(|e| {
        let taken = e.is_taken();
        let failure = Failure::new(e);
        if taken { failure.next(format!("name another port, or none for a free one: {}", what.port)) } else { failure }
    })
}

/// Where a port is reached.
pub fn line(listening: &Listening) -> String {
    let places = listening.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" and ");
    format!("published   {} at {places}", listening.what.port)
}

/// What the person is to know of an address that is not the loopback's.
pub fn warning(listening: &Listening) -> Option<String> {
    let place = listening.addresses.first().filter(|_| listening.what.is_wide())?;
    Some(format!("{place} is not loopback: whoever reaches this machine there reaches what listens inside"))
}
