//! Turns the table of sign-ins into JSON: runs read it, and reading TOML takes several times as long.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    let source = "data/signins.toml";
    println!("cargo::rerun-if-changed={source}");
    let text = std::fs::read_to_string(source).map_err(|e| format!("{source}: {e}"))?;
    let table: toml::Table = text.parse().map_err(|e| format!("{source}: {e}"))?;
    std::fs::write(Path::new(&out).join("signins.json"), serde_json::to_vec(&table)?)?;
    Ok(())
}
