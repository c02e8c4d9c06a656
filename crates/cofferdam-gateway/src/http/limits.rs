//! How much a connection may hold, and where what it starts runs.

use std::future::Future;

use hyper::rt::Executor;

/// What a stream of HTTP/2 may send ahead, in bytes: a hundred streaming bodies stay below the gateway's 64 MiB.
pub(crate) const WINDOW: u32 = 256 * 1024;
/// What all streams of a connection together may.
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Most streams of a connection at once.
pub(crate) const STREAMS: u32 = 100;
/// Most bytes of a head.
pub(crate) const HEAD: u32 = 64 * 1024;
/// Most fields of a head.
pub(crate) const FIELDS: usize = 256;
/// Most bytes that are read or written ahead.
pub(crate) const BUFFER: usize = 128 * 1024;

/// Runs hyper's tasks on this thread, in its [`tokio::task::LocalSet`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
