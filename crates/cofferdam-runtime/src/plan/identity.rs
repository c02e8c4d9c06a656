//! The person's name and e-mail address for commits, and nothing else of their git configuration.

use std::path::PathBuf;

use gix_config::File;
use gix_config::file::Metadata;

use crate::plan::Host;

/// A git configuration with `user.name` and `user.email` as the person has them globally; `None` where there is
/// neither. Reads `$XDG_CONFIG_HOME/git/config` and `~/.gitconfig` as files (git-config(1), FILES), runs nothing and
/// follows no include.
pub(super) fn git_config(host: &Host) -> Option<String> {
    let config_home = host.var("XDG_CONFIG_HOME").map_or_else(|| host.home.join(".config"), |v| v.as_path().to_owned());
    let files: [PathBuf; 2] = [config_home.join("git/config"), host.home.join(".gitconfig")];
    let (mut name, mut email) = (None, None);
    for path in files {
        let Ok(raw) = std::fs::read(&path) else { continue };
        let options = gix_config::file::init::Options::default();
        // A file that git itself would refuse gives no identity; git outside will say so.
        let Ok(file) = File::from_bytes_no_includes(&raw, Metadata::default(), options) else { continue };
        name = file.string("user.name").map(|v| v.to_string()).or(name);
        email = file.string("user.email").map(|v| v.to_string()).or(email);
    }
    if name.is_none() && email.is_none() {
        return None;
    }
    let mut text = String::from("[user]\n");
    for (key, value) in [("name", name), ("email", email)] {
        if let Some(value) = value {
            text.push_str(&format!("\t{key} = {}\n", quoted(&value)));
        }
    }
    Some(text)
}

/// A value as git-config(1) wants it: in quotes, with backslash, quote and line end escaped.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_address_come_in_and_helpers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(".gitconfig"),
            "[user]\n\tname = \"A \\\"Nick\\\" B\"\n\temail = a@example.com\n\tsigningkey = K\n\
             [credential]\n\thelper = store\n[include]\n\tpath = other\n[core]\n\tfsmonitor = evil\n",
        )
        .unwrap();
        let host = Host {
            env: Vec::new(),
            home: dir.path().to_owned(),
            cwd: dir.path().to_owned(),
            uid: 1000,
            binary: PathBuf::new(),
        };
        assert_eq!(git_config(&host).unwrap(), "[user]\n\tname = \"A \\\"Nick\\\" B\"\n\temail = \"a@example.com\"\n");
    }
}
