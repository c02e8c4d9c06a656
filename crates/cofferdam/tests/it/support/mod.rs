//! Scenes, attacks, processes and terminals for the tests.

pub mod attack;
pub mod evidence;
pub mod processes;
pub mod pty;
pub mod repo;
pub mod scene;
pub mod server;
pub mod world;

pub use attack::{Attack, Needs};
pub use repo::Repo;
pub use scene::{Finished, Scene, has};
pub use server::Server;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A word that nothing else on this machine contains.
pub fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    format!("{stem}-{:x}-{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), time)
}

/// Waits until `probe` holds, at most `seconds`.
pub fn eventually(seconds: u64, mut probe: impl FnMut() -> bool) -> bool {
    let begun = std::time::Instant::now();
    loop {
        if probe() {
            return true;
        }
        if begun.elapsed().as_secs() >= seconds {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
