//! The scripted model server that tests of real agents lean on, checked by clients of its own.

use std::path::Path;
use std::process::Command;

#[test]
fn the_scripted_model_server_speaks_every_protocol() {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model-server/check.py");
    match Command::new("python3").arg(check).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(e) => eprintln!("not proven on this machine: there is no python3: {e}"),
    }
}
