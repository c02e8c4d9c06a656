//! The outside half of the probe: plants targets, runs the probe inside, and looks at what happened to them.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cofferdam_runtime::plan::{Host, INSIDE};

use super::Check;
use super::probe::{Probed, Spec};
use crate::failure::Failure;

/// A directory that goes away with this value.
struct Planted(PathBuf);

impl Drop for Planted {
    fn drop(&mut self) {
        // What cannot be removed is in a directory of ours with a telling name.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plant(parent: &Path, name: &str) -> Result<Planted, Failure> {
    let path = parent.join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(Planted(path))
}

/// Runs the probe in an enclosure of its own.
pub fn examine(host: &Host) -> Result<Probed, Failure> {
    let keys = plant(&host.home, ".coffer-doctor")?;
    let key = keys.0.join("planted-key");
    let work = plant(&std::env::temp_dir().canonicalize()?, "coffer-doctor")?;
    let project = work.0.join("project");
    std::fs::create_dir_all(project.join("directory"))?;
    for (path, text) in [(&key, "secret"), (&project.join("file"), "before"), (&project.join("directory/file"), "x")] {
        std::fs::write(path, text)?;
    }
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let name = format!("coffer-doctor-{}", std::process::id());
    let abstract_socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    for listener in [tcp.set_nonblocking(true), abstract_socket.set_nonblocking(true)] {
        listener?;
    }
    let spec = Spec { key: key.clone(), port: tcp.local_addr()?.port(), abstract_name: name };
    let output = Command::new(&host.binary)
        .args(["run", "--project"])
        .arg(&project)
        .args(["--", &format!("{INSIDE}/bin/coffer"), "probe"])
        .arg(serde_json::to_string(&spec)?)
        .env("COFFER_DOCTOR_CANARY", "secret")
        .env("XDG_STATE_HOME", work.0.join("state"))
        .current_dir(&project)
        .stdin(Stdio::null())
        .output()?;
    let mut probed: Probed = match serde_json::from_slice(&output.stdout) {
        Ok(probed) if output.status.success() => probed,
        _ => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let mut check =
                Check::new("an enclosure can be built", false, words.lines().next().unwrap_or("no word of why"));
            check.fix = Some(words.lines().skip(1).map(str::trim).collect::<Vec<_>>().join("\n"));
            return Ok(Probed { boundary: vec![check], network: Vec::new() });
        }
    };
    let reached = |what: &str, accepted: bool| {
        Check::new(
            &format!("{what} of the host is out of reach"),
            !accepted,
            if accepted { "connected" } else { "no connection came" },
        )
    };
    let checks = &mut probed.boundary;
    checks.push(reached("a listener on 127.0.0.1", tcp.accept().is_ok()));
    checks.push(reached("an abstract socket", abstract_socket.accept().is_ok()));
    let text = std::fs::read_to_string(project.join("file"))?;
    checks.push(Check::new(
        "the real tree is untouched",
        text == "before" && project.join("directory").is_dir(),
        format!("the file still says `{text}`"),
    ));
    Ok(probed)
}
