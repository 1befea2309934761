//! The threads that answer requests: one for each request in progress, and at least one that waits for the next.
//!
//! The gate passes on one request of a connection at a time, so there are at most as many threads as connections, and
//! slow clients do not delay others. Threads are kept, because starting one costs more than most responses.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiny_http::Request;

/// Threads that take requests from `tiny_http`.
pub(super) struct Workers {
    http: tiny_http::Server,
    answer: Box<dyn Fn(Request) + Send + Sync>,
    /// Gets the reason when `tiny_http` has no more requests.
    ended: Box<dyn Fn(io::Error) + Send + Sync>,
    waiting: AtomicUsize,
}

impl Workers {
    /// Starts with one thread.
    pub(super) fn start(
        http: tiny_http::Server,
        answer: impl Fn(Request) + Send + Sync + 'static,
        ended: impl Fn(io::Error) + Send + Sync + 'static,
    ) -> io::Result<Arc<Workers>> {
        let (answer, ended) = (Box::new(answer), Box::new(ended));
        let workers = Arc::new(Workers { http, answer, ended, waiting: AtomicUsize::new(0) });
        workers.spawn()?;
        Ok(workers)
    }

    /// Ends the waiting threads at once, and the others after their response.
    pub(super) fn stop(&self) {
        self.http.unblock();
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let workers = Arc::clone(self);
        workers.waiting.fetch_add(1, Ordering::SeqCst);
        let spawned = std::thread::Builder::new().spawn(move || workers.run());
        if spawned.is_err() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        spawned.map(drop)
    }

    fn run(self: Arc<Self>) {
        loop {
            let received = self.http.recv();
            let is_last_waiting = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
            match received {
                Ok(request) => {
                    if is_last_waiting {
                        // If the system has no thread left, the next request waits for this one.
                        let _ = self.spawn();
                    }
                    // A panic in one request must not end the thread.
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.answer)(request)));
                }
                Err(error) => {
                    (self.ended)(error);
                    // `tiny_http` unblocks one thread at a time, so pass it on.
                    return self.http.unblock();
                }
            }
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
    }
}
