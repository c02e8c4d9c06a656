//! The output of commands: what is kept, and that the commands do not notice.

mod ends;
mod files;
mod hostile;
mod programs;
mod streams;

use std::process::{Command, Stdio};

use crate::driver::{Mode, Recorded, record};

/// Records what `work` starts, and checks what holds for every recording.
fn recorded<T: Send>(work: impl FnOnce() -> T + Send) -> (T, Recorded) {
    let (result, recorded, _dir) = recorded_in(work);
    (result, recorded)
}

fn recorded_in<T: Send>(work: impl FnOnce() -> T + Send) -> (T, Recorded, &'static tempfile::TempDir) {
    // Kept until the test binary ends, so that contents can be read after this returns.
    let dir: &'static tempfile::TempDir = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    let (result, recorded) = record(Mode::Record, dir.path(), work);
    for output in &recorded.outputs {
        let o = &output.output;
        assert_eq!(o.blob.size + o.dropped, o.bytes);
        assert!(o.head <= o.blob.size);
        assert!(output.head.len() <= 64 << 10 && output.tail.len() <= 64 << 10);
        let content = recorded.content(output);
        assert!(content.starts_with(&output.head) && content.ends_with(&output.tail));
    }
    (result, recorded, dir)
}

fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).stdin(Stdio::null());
    command
}

fn python(script: &str) -> Command {
    // Not a wrapper of a version manager, whose own commands would be recorded as well.
    let system = std::path::Path::new("/usr/bin/python3");
    let mut command = Command::new(if system.exists() { system } else { std::path::Path::new("python3") });
    command.arg("-c").arg(script).stdin(Stdio::null());
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg("-e").arg(script).stdin(Stdio::null());
    command
}
