//! Values made of files.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use kith_runtime::Runtime;

use crate::TlsError;

/// How often files are compared with what was made of them.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was made of files, and is made anew when one of them changes.
///
/// Contents are compared, not times: a mounted secret is a link that is set to another folder. Files that are not fit (a
/// certificate that was written before its key) leave the last good value in use.
pub struct Live<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    current: RwLock<Arc<T>>,
    /// The contents that were last tried, fit or not.
    tried: Mutex<Vec<Vec<u8>>>,
}

type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync>;

impl<T> Live<T> {
    /// Reads `files`; `make` gets their contents in this order.
    pub fn open(
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let contents = read(&files)?;
        let current = RwLock::new(Arc::new(make(&contents)?));
        Ok(Arc::new(Self { files, make: Box::new(make), current, tried: Mutex::new(contents) }))
    }

    /// The value of the last files that were fit.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the value anew if a file has changed since the last attempt; whether it did.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let contents = read(&self.files)?;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if *tried == contents {
            return Ok(false);
        }
        let made = (self.make)(&contents);
        *tried = contents;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made?);
        Ok(true)
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Reloads every 5 s, until nobody else holds it. Logs what comes of it.
    pub fn follow(self: &Arc<Self>, runtime: &Runtime) {
        let (weak, clock) = (Arc::downgrade(self), runtime.clone());
        runtime.spawn(async move {
            let mut said = None;
            loop {
                clock.sleep(LOOK_EVERY).await;
                let Some(live) = weak.upgrade() else { return };
                let files = live.files.clone();
                match clock.blocking(move || live.reload()).await {
                    Some(Ok(true)) => tracing::info!(?files, "files that changed are in use"),
                    Some(Ok(false)) => continue,
                    Some(Err(error)) if said.as_ref() == Some(&error) => continue,
                    Some(Err(error)) => {
                        tracing::error!(%error, "files that changed are not in use: the last good ones are");
                        said = Some(error);
                        continue;
                    }
                    // The process ends.
                    None => return,
                }
                said = None;
            }
        });
    }
}

impl<T> fmt::Debug for Live<T> {
    /// Without the value: there are keys in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, TlsError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| TlsError::Unreadable { path: path.clone(), why: error.to_string() })
    };
    files.iter().map(read).collect()
}
