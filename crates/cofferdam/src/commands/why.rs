//! `coffer why`: the same question outside, where policy is read, and inside, where the gateway and the view answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Answer;
use super::policy::explain::{ExplainArgs, explain};
use crate::failure::Failure;
use crate::output::{self, Colour};

/// Who answers inside.
const GATEWAY: &str = "why.cofferdam";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LARGEST: u64 = 64 * 1024;

/// `coffer why`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  coffer why api.github.com\n  coffer why https://api.github.com/repos/acme/app\n  \
    coffer why ~/.ssh/id_ed25519\nExit codes: 0 it is allowed or visible; 1 it is not; 125 an error."
)]
pub struct WhyArgs {
    /// A host with or without a port, a URL, or the path of a file
    #[arg(value_name = "HOST|URL|PATH")]
    what: String,
    /// Print facts as JSON
    #[arg(long)]
    json: bool,
}

/// Says why.
pub fn why(args: &WhyArgs, colour: Colour) -> Answer {
    let inside = std::env::var_os("COFFER_RUN").is_some() && Path::new("/run/coffer/README").exists();
    let is_path = args.what.starts_with(['/', '.', '~']);
    if !inside {
        if is_path {
            return Err(Failure::new("this is outside of any enclosure: every file is what it is").next(format!(
                "coffer run -- coffer why {} says what a run here sees",
                output::visible(args.what.as_bytes())
            )));
        }
        return explain(
            &ExplainArgs { target: args.what.clone(), method: None, resolve: false, json: args.json },
            colour,
        );
    }
    let (text, good) = if is_path { file(Path::new(&args.what)) } else { host(&args.what)? };
    if args.json {
        output::json(&serde_json::json!({ "what": args.what, "allowed": good, "says": text.trim_end() }))?;
    } else {
        let safe = text.lines().map(|line| output::visible(line.as_bytes()) + "\n");
        output::print(safe.collect::<String>())?;
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// What the view shows of a file.
fn file(path: &Path) -> (String, bool) {
    let name = path.display();
    match path.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => (
            format!(
                "{name} is not there inside. An enclosure shows the project, the tools that PATH leads to, the system, and a home \
                 of its own; nothing else of the person's. Who needs the file asks the person to put it into the project."
            ),
            false,
        ),
        Err(e) => (format!("{name} cannot be looked at inside: {e}."), false),
        Ok(meta) if meta.permissions().mode() & 0o777 == 0 => (
            format!(
                "{name} exists on this machine and is hidden inside: credentials, sockets and what is somebody else's stay outside. \
                 Who needs a credential asks the person for a rule that uses it."
            ),
            false,
        ),
        Ok(_) => match access(path, Access::WRITE_OK) {
            Ok(()) => (format!("{name} is there, and may be written."), true),
            Err(Errno::ROFS) => (
                format!("{name} is there, read-only: only the project, this enclosure's home and /tmp may be written."),
                true,
            ),
            Err(_) => (format!("{name} is there, and its permissions do not let it be written."), true),
        },
    }
}

/// What the gateway says of a host.
fn host(what: &str) -> Result<(String, bool), Failure> {
    if what.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return Err(Failure::new("this is no host and no URL"));
    }
    let failed = |e: io::Error| Failure::new(format!("the gateway does not answer: {e}"));
    let mut stream = TcpStream::connect((GATEWAY, 80)).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    // Closed after the answer: it needs no framing.
    write!(stream, "GET /{what} HTTP/1.1\r\nHost: {GATEWAY}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).map_err(failed)?;
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(&answer) {
        Ok(httparse::Status::Complete(length)) => length,
        _ => return Err(Failure::new("the gateway's answer does not read")),
    };
    let allowed = head.headers.iter().any(|field| field.name == "x-cofferdam" && field.value == b"allowed");
    Ok((String::from_utf8_lossy(&answer[length..]).into_owned(), allowed))
}
