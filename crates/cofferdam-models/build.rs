//! Turns the profiles of `data/agents/` into JSON, an entry each: a command is compared with names alone, and the profile of
//! an agent is read when one runs.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=data/agents");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    let mut files: Vec<_> =
        std::fs::read_dir("data/agents")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut code = "&[\n".to_owned();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let profile: toml::Table = text.parse().map_err(|e| format!("{}: {e}", file.display()))?;
        let name = profile.get("name").and_then(|name| name.as_str()).ok_or("a profile without a name")?;
        let packages: Vec<&str> = profile
            .get("packages")
            .and_then(|p| p.as_array())
            .into_iter()
            .flatten()
            .filter_map(|p| p.as_str())
            .collect();
        let json = serde_json::to_string(&profile)?;
        writeln!(code, "    Shipped {{ name: {name:?}, packages: &{packages:?}, json: {json:?} }},")?;
    }
    code.push_str("]\n");
    std::fs::write(Path::new(&out).join("agents.rs"), code)?;
    Ok(())
}
