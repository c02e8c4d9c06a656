//! Who the command is, by name: `/etc/passwd` and `/etc/group` as they are inside (passwd(5), group(5)).

use std::path::Path;

use cofferdam_core::plan::Mount;

use crate::plan::Host;

/// The uid and gid that root's enclosures have inside.
const ORDINARY: u32 = 1000;

/// The name of that uid and gid.
const AGENT: &str = "agent";

/// One account.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

/// The name that the command goes by.
pub(super) fn name(host: &Host) -> &[u8] {
    if host.uid == 0 {
        return AGENT.as_bytes();
    }
    host.var("USER").or_else(|| host.var("LOGNAME")).map_or(&b"user"[..], |v| v.as_ref())
}

/// The login shell.
pub(super) fn shell(host: &Host) -> &[u8] {
    host.var("SHELL").map_or(b"/bin/sh", |v| v.as_ref())
}

/// The two files, where the host's would be wrong inside: for root, whose uid inside belongs to somebody else or to nobody
/// outside, and for a person whom a directory service knows and no file, because there is no way to that service.
pub(super) fn mounts(host: &Host) -> Vec<Mount> {
    let root = host.uid == 0;
    let account = Account {
        name: name(host),
        uid: if root { ORDINARY } else { host.uid },
        gid: if root { ORDINARY } else { rustix::process::getgid().as_raw() },
        home: host.home.as_os_str().as_encoded_bytes(),
        shell: shell(host),
    };
    // What cannot be read outside cannot inside either, and what is not there has no place to be mounted at.
    let read = |path: &str| std::fs::read(path).ok();
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    let entry = [("/etc/passwd", passwd, account.passwd()), ("/etc/group", group, account.group())];
    let file = |(path, text, (line, id)): (&str, Option<Vec<u8>>, (Vec<u8>, u32))| {
        let text = text?;
        (root || !names(&text, id)).then(|| Mount::File {
            target: Path::new(path).into(),
            content: with(&text, &line, account.name, id).into(),
        })
    };
    entry.into_iter().filter_map(file).collect()
}

impl Account<'_> {
    /// Its line of passwd(5), with the uid. The comment is the name, so that git has one where none is configured.
    fn passwd(&self) -> (Vec<u8>, u32) {
        let (name, uid, gid) = (field(self.name, b"user"), self.uid.to_string(), self.gid.to_string());
        let (home, shell) = (field(self.home, b"/"), field(self.shell, b"/bin/sh"));
        ([name, b"x", uid.as_bytes(), gid.as_bytes(), name, home, shell].join(&b':'), self.uid)
    }

    /// The line of its group in group(5), with the gid.
    fn group(&self) -> (Vec<u8>, u32) {
        let gid = self.gid.to_string();
        ([field(self.name, b"user"), b"x", gid.as_bytes(), b""].join(&b':'), self.gid)
    }
}

/// A value that may stand in a line; `instead` where it would break it.
fn field<'a>(value: &'a [u8], instead: &'a [u8]) -> &'a [u8] {
    let breaks = value.is_empty() || value.iter().any(|b| matches!(b, b':' | b'\n' | b'\r' | 0));
    if breaks { instead } else { value }
}

/// Both files have the name first and the number third.
fn name_and_id(line: &[u8]) -> (&[u8], Option<u32>) {
    let mut fields = line.split(|b| *b == b':');
    let name = fields.next().unwrap_or_default();
    (name, fields.nth(1).and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()))
}

fn names(text: &[u8], id: u32) -> bool {
    text.split(|b| *b == b'\n').any(|line| name_and_id(line).1 == Some(id))
}

/// The file with `line` first and without others of that name or number: a look-up takes the first that fits.
fn with(text: &[u8], line: &[u8], name: &[u8], id: u32) -> Vec<u8> {
    let others = text.split(|b| *b == b'\n').filter(|other| {
        let (its_name, its_id) = name_and_id(other);
        !other.is_empty() && its_name != name && its_id != Some(id)
    });
    let mut all = Vec::with_capacity(text.len() + line.len() + 1);
    for line in std::iter::once(line).chain(others) {
        all.extend_from_slice(line);
        all.push(b'\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\n\
                            agent:x:1005:1005::/srv:/bin/sh\n+::::::\nbob:x:10000:1000::/home/bob:/bin/sh";

    #[test]
    fn the_agent_takes_the_place_of_whoever_has_its_number_or_name() {
        let account = Account { name: b"agent", uid: 1000, gid: 1000, home: b"/root", shell: b"/bin/zsh" };
        let (line, id) = account.passwd();
        assert_eq!(
            with(PASSWD, &line, account.name, id),
            b"agent:x:1000:1000:agent:/root:/bin/zsh\nroot:x:0:0:root:/root:/bin/bash\n+::::::\n\
              bob:x:10000:1000::/home/bob:/bin/sh\n"
        );
        let (line, id) = account.group();
        let group = with(b"root:x:0:\nada:x:1000:\nusers:x:100:ada,bob\n", &line, account.name, id);
        assert_eq!(group, b"agent:x:1000:\nroot:x:0:\nusers:x:100:ada,bob\n");
    }

    #[test]
    fn what_would_break_the_line_is_not_written_into_it() {
        let account = Account { name: b"a\nroot:x:0", uid: 7, gid: 8, home: b"/a:b", shell: b"" };
        assert_eq!(account.passwd().0, b"user:x:7:8:user:/:/bin/sh");
        assert!(names(PASSWD, 1005) && names(PASSWD, 0) && !names(PASSWD, 7));
    }
}
