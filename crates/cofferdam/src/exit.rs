//! Exit codes, as `env(1)` and `docker run` have them.

/// Ours: there was no run, or a command of coffer failed.
pub const OURS: u8 = 125;
/// The command was found and cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// What a shell reports for a command that a signal killed.
pub fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(OURS)
}
