//! A terminal with a person before it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{Scene, eventually, scene};

/// A session of some program on a terminal of its own.
pub struct Session {
    pub child: Child,
    master: std::fs::File,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    /// `coffer run -- WORDS…` as the leader of a session on a new terminal of 31 by 97.
    pub fn start(scene: &Scene, words: &[&str]) -> Session {
        let mut command = scene.program(scene::hostile());
        command.args(["on-terminal", env!("CARGO_BIN_EXE_coffer"), "run", "--"]).args(words);
        Session::of(command)
    }

    /// Any command that makes the terminal its own.
    pub fn of(mut command: Command) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (into, mut from) = (shown.clone(), std::fs::File::from(master.try_clone().unwrap()));
        std::thread::spawn(move || {
            let mut chunk = [0u8; 4096];
            // Ends with EIO when nobody has the terminal open any more.
            while let Ok(got) = from.read(&mut chunk) {
                if got == 0 {
                    return;
                }
                into.lock().unwrap().extend_from_slice(&chunk[..got]);
            }
        });
        Session { child, master: master.into(), slave, shown }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until the screen shows `what`.
    pub fn expect(&self, what: &str) {
        assert!(eventually(15, || self.screen().contains(what)), "{what:?} never came:\n{}", self.screen());
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// The state of the terminal, in a form that can be compared.
    pub fn state(&self) -> String {
        let Termios { input_modes, output_modes, control_modes, local_modes, .. } = tcgetattr(&self.slave).unwrap();
        format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?}")
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        scene::wait(&mut self.child, std::time::Duration::from_secs(20))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
