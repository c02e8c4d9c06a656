//! A network of a test's own: the host's side and an outside in network namespaces, joined by a wire, with a name server
//! that the test controls.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::scene::{Finished, finish};
use super::{Scene, has, is_root};

/// The server outside, at port 8080; the host's side is 203.0.113.1. Documentation addresses (RFC 5737) are ordinary ones to the gateway.
pub const OUTSIDE: &str = "203.0.113.7";
/// Where cloud providers serve credentials; here an address of the outside.
pub const METADATA: &str = "169.254.169.254";

/// Where ip(8) is, too.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Makes the world and runs the words in it; what it starts ends with its process namespace. `$1` is the directory of [`World`], `$2` the attack
/// program.
const SCRIPT: &str = r#"
set -e
here=$1 hostile=$2; shift 2
rm -f "$here"/*.log
mount --bind "$here/resolv.conf" /etc/resolv.conf
mount --bind "$here/hosts" /etc/hosts
[ ! -e /etc/nsswitch.conf ] || mount --bind "$here/nsswitch.conf" /etc/nsswitch.conf
ip link set lo up
own=$(readlink /proc/self/ns/net)
unshare -n sleep 300 & outside=$!
started=$outside
while [ "$(readlink /proc/$outside/ns/net)" = "$own" ]; do sleep 0.01; done
ip link add wire type veth peer name wire netns $outside
ip addr add 203.0.113.1/24 dev wire
ip link set wire up
ip route add 169.254.169.254 dev wire
there() { nsenter -t $outside -n "$@"; }
there ip link set lo up
there ip addr add 203.0.113.7/24 dev wire
there ip addr add 169.254.169.254/32 dev wire
there ip link set wire up
"$hostile" serve-names 127.0.0.53:53 "$here/table" "$here/names.log" & started="$started $!"
for at in 127.0.0.1 203.0.113.1 '[::1]'; do
    "$hostile" serve-http "$at:8080" "$here/host.log" & started="$started $!"
done
for at in 203.0.113.7 169.254.169.254; do
    nsenter -t $outside -n "$hostile" serve-http "$at:8080" "$here/outside.log" & started="$started $!"
done
serving() { [ "$(cat "$here"/*.log 2>/dev/null | grep -c '^serves')" -ge 6 ]; }
until serving; do kill -0 $started; sleep 0.01; done
"$@"
"#;

/// The world, in files.
pub struct World {
    directory: PathBuf,
}

/// Options of unshare(1) for namespaces of mounts, network and processes, as root of them.
pub fn namespaces() -> Vec<&'static str> {
    let root: &[_] = if is_root() { &[] } else { &["-r"] };
    [root, &["-mnp", "--mount-proc", "--kill-child", "--fork"]].concat()
}

/// Words before a command in them that make of such a root an ordinary user again: an enclosure needs one, or the host's root.
pub fn ordinary() -> &'static [&'static str] {
    if is_root() { &[] } else { &["unshare", "-U", "--map-user=1000", "--map-group=1000"] }
}

impl World {
    /// With this table of names (`serve-names` of the attack program). `None`, loudly, where it cannot be made here.
    pub fn new(scene: &Scene, table: &str) -> Option<World> {
        if !has("unshare") || !has("nsenter") || !(has("ip") || PathBuf::from("/usr/sbin/ip").exists()) {
            return None;
        }
        let mut wire = Command::new("unshare");
        wire.args(namespaces()).args(["sh", "-c", "ip link add one type veth peer name two"]).env("PATH", PATH);
        if !wire.status().unwrap().success() {
            eprintln!("not proven here: no network namespace with a veth pair");
            return None;
        }
        let directory = scene.root().join("world");
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in [
            ("resolv.conf", "nameserver 127.0.0.53\nsearch search.example\noptions timeout:2 attempts:1\n"),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("table", table),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        Some(World { directory })
    }

    /// A command in it, to its end.
    pub fn finished(&self, scene: &Scene, words: &[&str]) -> Finished {
        let mut command = scene.program("unshare");
        command.args(namespaces()).args(["sh", "-c", SCRIPT, "sh"]);
        command.arg(&self.directory).arg(scene.outside.join("hostile")).args(ordinary()).args(words);
        command.env("PATH", PATH);
        finish(command, b"")
    }

    /// What one of the servers noted in the latest run: `names`, `host` or `outside`.
    pub fn noted(&self, server: &str) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join(format!("{server}.log"))).unwrap_or_default();
        text.lines().filter(|line| *line != "serves").map(str::to_owned).collect()
    }
}
