use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// All of a process's calls pass this gate, requests and answers: while it is shut the process is frozen, with its
/// memory, and it makes its pending writes when it wakes.
#[derive(Debug)]
pub struct Gate {
    open: AtomicBool,
    opened: Notify,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(true), opened: Notify::new() })
    }

    pub async fn pass(&self) {
        loop {
            let opened = self.opened.notified();
            if self.open.load(Ordering::Relaxed) {
                return;
            }
            opened.await;
        }
    }

    pub fn shut(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
        self.opened.notify_waiters();
    }

    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}
