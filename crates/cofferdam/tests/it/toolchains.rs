//! Version managers of a person's home, each in the layout that it really makes (nvm 0.40, asdf 0.15, mise 2026.9): the version
//! that runs outside runs inside, and no credential comes with it. Programs are scripts, so that nothing is downloaded.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Scene;
use crate::support::scene::{Finished, finish};

/// A home with tools in it.
struct Tools {
    scene: Scene,
    path: String,
}

impl Tools {
    fn new() -> Tools {
        Tools { scene: Scene::new(), path: "/usr/local/bin:/usr/bin:/bin".to_owned() }
    }

    /// A file of the home; `~` in the text is the home's path.
    fn file(&self, name: &str, text: &str) {
        let path = self.scene.home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('~', self.scene.home.to_str().unwrap())).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        self.file(name, text);
        fs::set_permissions(self.scene.home.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn link(&self, name: &str, text: &str) {
        fs::create_dir_all(self.scene.home.join(name).parent().unwrap()).unwrap();
        symlink(text.replace('~', self.scene.home.to_str().unwrap()), self.scene.home.join(name)).unwrap();
    }

    /// An installation of node and npm: the program, a link to a script of the library, whose interpreter is found in PATH.
    fn node(&self, prefix: &str, version: &str) {
        self.program(&format!("{prefix}/bin/node"), &format!("#!/bin/sh\necho {version} \"$@\" $FROM_PLUGIN\n"));
        self.program(&format!("{prefix}/lib/node_modules/npm/bin/npm-cli.js"), "#!/usr/bin/env node\n");
        self.link(&format!("{prefix}/bin/npm"), "../lib/node_modules/npm/bin/npm-cli.js");
    }

    fn first_in_path(&mut self, directory: &str) {
        self.path = format!("{}:{}", self.scene.home.join(directory).display(), self.path);
    }

    /// A script in the project, outside and inside.
    fn both(&self, variables: &[(&str, &str)], script: &str) -> [Finished; 2] {
        let home = self.scene.home.to_str().unwrap();
        let mut inside = self.scene.coffer();
        inside.args(["run", "--", "sh", "-c", script]);
        let mut outside = self.scene.program("sh");
        outside.args(["-c", script]);
        [outside, inside].map(|mut command| {
            command.env("PATH", &self.path);
            command.envs(variables.iter().map(|(name, value)| (name, value.replace('~', home))));
            finish(command, b"")
        })
    }

    /// What a script prints, which must be the same outside and inside.
    fn same(&self, variables: &[(&str, &str)], script: &str) -> String {
        let [outside, inside] = self.both(variables, script);
        assert_eq!(inside.out(), outside.out(), "{}", inside.all());
        assert!(inside.status.success() && outside.status.success(), "{}", inside.all());
        inside.out()
    }

    /// A file of the home that can be read outside, and of which nothing can inside.
    fn closed(&self, name: &str) {
        let path = self.scene.home.join(name);
        let [outside, inside] = self.both(&[], &format!("cat '{}'", path.display()));
        assert!(outside.out().contains(&self.scene.canary), "{name} holds no canary");
        assert!(!inside.all().contains(&self.scene.canary), "{name}: {}", inside.all());
    }

    /// What no tool may bring in.
    fn nothing_else_is_open(&self) {
        for secret in [".ssh/id_ed25519", ".npmrc", ".config/unheard-of/token", "notes.txt", "src/other/.env"] {
            self.closed(secret);
        }
    }

    fn canary_in(&self, name: &str, text: &str) {
        self.file(name, &text.replace("CANARY", &self.scene.canary));
    }
}

#[test]
fn nvm_runs_the_version_in_use_and_keeps_the_prefix_token() {
    let mut tools = Tools::new();
    for version in ["v20.18.1", "v22.12.0"] {
        tools.node(&format!(".nvm/versions/node/{version}"), version);
    }
    tools.file(".nvm/nvm.sh", "nvm() { PATH=\"$NVM_DIR/versions/node/$2/bin:$PATH\"; }\n");
    tools.canary_in(".npmrc", "//registry.npmjs.org/:_authToken=CANARY\n");
    tools.canary_in(".nvm/versions/node/v20.18.1/etc/npmrc", "//registry.npmjs.org/:_authToken=CANARY\n");
    tools.file(".nvm/versions/node/v22.12.0/etc/npmrc", "fund = false\n");
    tools.first_in_path(".nvm/versions/node/v20.18.1/bin");
    let nvm = [("NVM_DIR", "~/.nvm"), ("NVM_BIN", "~/.nvm/versions/node/v20.18.1/bin")];
    let ran = tools.same(&nvm, "command -v node; node s.js; npm ci; ls \"$NVM_BIN\"");
    assert!(ran.contains("v20.18.1 s.js\n"), "{ran}");
    let switched =
        tools.same(&nvm, ". \"$NVM_DIR/nvm.sh\"; nvm use v22.12.0; node; cat ~/.nvm/versions/node/v22*/etc/npmrc");
    assert_eq!(switched, "v22.12.0\nfund = false\n", "what holds no token is seen");
    tools.closed(".nvm/versions/node/v20.18.1/etc/npmrc");
    tools.nothing_else_is_open();
}

/// asdf's own way: a shim, the program, the nearest `.tool-versions`, the plugin's `exec-env`.
const ASDF: &str = r#"#!/usr/bin/env bash
shift; name=$1; shift
version=$ASDF_NODEJS_VERSION
for file in "$PWD/.tool-versions" "$HOME/.tool-versions"; do
  [ -z "$version" ] && [ -f "$file" ] && version=$(sed -n 's/^nodejs //p' "$file")
done
[ -n "$version" ] || { echo "No version is set for command $name"; exit 126; }
. "$ASDF_DIR/plugins/nodejs/bin/exec-env"
exec "$ASDF_DIR/installs/nodejs/$version/bin/$name" "$@"
"#;

#[test]
fn asdf_runs_the_version_of_the_project_of_the_home_and_of_the_shell() {
    let mut tools = Tools::new();
    for version in ["20.18.1", "22.12.0"] {
        tools.node(&format!(".asdf/installs/nodejs/{version}"), version);
    }
    tools.program(".asdf/bin/asdf", ASDF);
    tools.program(".asdf/plugins/nodejs/bin/exec-env", "#!/usr/bin/env bash\nexport FROM_PLUGIN=plugin\n");
    for name in ["node", "npm"] {
        let shim = format!(
            "#!/usr/bin/env bash\n# asdf-plugin: nodejs 20.18.1\nexec ~/.asdf/bin/asdf exec \"{name}\" \"$@\"\n"
        );
        tools.program(&format!(".asdf/shims/{name}"), &shim);
    }
    tools.file(".tool-versions", "nodejs 22.12.0\n");
    tools.canary_in(".npmrc", "//registry.npmjs.org/:_authToken=CANARY\n");
    tools.canary_in(".asdf/plugins/nodejs/.git/config", "[remote \"origin\"]\n\turl = https://me:CANARY@host/p\n");
    tools.canary_in(".asdf/installs/nodejs/20.18.1/etc/npmrc", "//r/:_authToken=CANARY\n");
    tools.first_in_path(".asdf/bin");
    tools.first_in_path(".asdf/shims");
    let asdf = [("ASDF_DIR", "~/.asdf")];
    assert_eq!(tools.same(&asdf, "node s.js"), "22.12.0 s.js plugin\n", "the home's");
    fs::write(tools.scene.project.join(".tool-versions"), "nodejs 20.18.1\n").unwrap();
    assert_eq!(tools.same(&asdf, "node s.js"), "20.18.1 s.js plugin\n", "the project's");
    let shell = [("ASDF_DIR", "~/.asdf"), ("ASDF_NODEJS_VERSION", "22.12.0")];
    assert_eq!(tools.same(&shell, "node s.js"), "22.12.0 s.js plugin\n", "the shell's");
    tools.closed(".asdf/plugins/nodejs/.git/config");
    tools.closed(".asdf/installs/nodejs/20.18.1/etc/npmrc");
    tools.nothing_else_is_open();
}

/// mise's own way: every shim is a link to the one program, which goes by its name, the project's and the person's `[tools]`.
const MISE: &str = r#"#!/bin/sh
name=${0##*/}
for file in "$PWD/mise.toml" "$HOME/.config/mise/config.toml"; do
  version=$(sed -n 's/^node = "\(.*\)"/\1/p' "$file" 2>/dev/null)
  [ -n "$version" ] && exec "$HOME/.local/share/mise/installs/node/${MISE_NODE_VERSION:-$version}/bin/$name" "$@"
done
echo "no version"; exit 1
"#;

#[test]
fn mise_runs_the_version_in_use_and_its_environment_stays_outside() {
    let mut tools = Tools::new();
    for version in ["20.18.1", "22.12.0"] {
        tools.node(&format!(".local/share/mise/installs/node/{version}"), version);
    }
    tools.link(".local/share/mise/installs/node/22", "./22.12.0");
    tools.program(".local/bin/mise", MISE);
    for name in ["node", "npm"] {
        tools.link(&format!(".local/share/mise/shims/{name}"), "~/.local/bin/mise");
    }
    let config = "min_version = \"2024.1\"\n[tools]\nnode = \"22\"\n[env]\nMY_KEY = \"CANARY\"\n[settings]\nage.key = \"CANARY\"\n";
    tools.canary_in(".config/mise/config.toml", config);
    tools.canary_in(".npmrc", "//registry.npmjs.org/:_authToken=CANARY\n");
    tools.first_in_path(".local/share/mise/shims");
    assert_eq!(tools.same(&[], "node s.js"), "22.12.0 s.js\n", "the home's");
    assert_eq!(tools.same(&[("MISE_NODE_VERSION", "20.18.1")], "node s.js"), "20.18.1 s.js\n", "the shell's");
    fs::write(tools.scene.project.join("mise.toml"), "[tools]\nnode = \"20.18.1\"\n").unwrap();
    assert_eq!(tools.same(&[], "node s.js"), "20.18.1 s.js\n", "the project's");
    tools.closed(".config/mise/config.toml");
    tools.nothing_else_is_open();
    let [_, told] = tools.both(&[], "cat ~/.config/mise/config.toml; [ -w ~/.config/mise/config.toml ] || echo kept");
    assert!(told.out().contains("min_version") && !told.out().contains("env"), "{}", told.all());
    assert!(told.out().ends_with("kept\n"), "{}", told.all());
    let mut run = tools.scene.coffer();
    run.args(["run", "--json", "--", "true"]);
    let said = finish(run, b"").all();
    assert!(said.contains("of ~/.config/mise/config.toml this stays outside: env, settings"), "{said}");
    // With `mise activate`, the installation itself is in PATH.
    tools.first_in_path(".local/share/mise/installs/node/20.18.1/bin");
    assert_eq!(tools.same(&[], "node s.js"), "20.18.1 s.js\n");
}

/// What `dlv exec` and gdb do: a child without address randomisation, traced, stopped, read, written, single-stepped.
const DEBUGGER: &str = r#"
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4; libc.ptrace.restype = ctypes.c_long
def ok(value): assert value != -1, os.strerror(ctypes.get_errno()); return value
cell = ctypes.c_long(20)
child = os.fork()
if child == 0:
    ok(libc.personality(0x40000))
    ok(libc.ptrace(0, 0, 0, 0))
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(cell.value)
assert os.WIFSTOPPED(os.waitpid(child, 0)[1])
at = ctypes.addressof(cell)
assert ok(libc.ptrace(2, child, at, 0)) == 20
ok(libc.ptrace(5, child, at, 42))
ok(libc.ptrace(9, child, 0, 0))
assert os.WSTOPSIG(os.waitpid(child, 0)[1]) == signal.SIGTRAP
with open(f"/proc/{child}/mem", "rb") as memory:
    memory.seek(at); assert memory.read(1) == b"*"
ok(libc.ptrace(7, child, 0, 0))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
other = os.fork()
if other == 0: signal.pause()
ok(libc.ptrace(0x4206, other, 0, 0)); ok(libc.ptrace(0x4207, other, 0, 0)); os.waitpid(other, 0)
os.kill(other, signal.SIGKILL); os.waitpid(other, 0)
print("debugged")
"#;

#[test]
fn a_debugger_works_on_processes_of_the_enclosure() {
    let tools = Tools::new();
    fs::write(tools.scene.project.join("debugger.py"), DEBUGGER).unwrap();
    assert_eq!(tools.same(&[], "python3 debugger.py"), "debugged\n");
}
