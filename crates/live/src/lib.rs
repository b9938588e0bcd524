//! Values made of files, and made anew when a file changes: certificates, public keys, the callers' file, passwords. It is the one
//! way in which a process reads files again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_runtime::Runtime;
use tokio::sync::watch;

/// How often files are compared with what was made of them.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The contents of files, in an order that the value's maker knows.
pub type Contents = Vec<Vec<u8>>;

/// What was made of files, and is made anew when one of them changes.
///
/// Contents are compared, not times: a mounted secret is a link that is set to another folder, and two changes may have one time.
/// Files that are not fit (a certificate that was written before its key) leave the last good value in use.
pub struct Live<T, E> {
    /// What it is, for the log: no secret, and nobody's personal data.
    what: String,
    read: Read<E>,
    make: Make<T, E>,
    current: watch::Sender<Arc<T>>,
    /// The contents that were last tried, fit or not.
    tried: Mutex<Contents>,
}

type Read<E> = Box<dyn Fn() -> Result<Contents, E> + Send + Sync>;
type Make<T, E> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync>;

impl<T, E> Live<T, E> {
    /// Reads the files by `read`, which blocks briefly; `make` gets what it gave.
    pub fn open(
        what: impl Into<String>,
        read: impl Fn() -> Result<Contents, E> + Send + Sync + 'static,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, E> {
        let contents = read()?;
        let current = watch::Sender::new(Arc::new(make(&contents)?));
        let (read, make): (Read<E>, Make<T, E>) = (Box::new(read), Box::new(make));
        Ok(Arc::new(Self { what: what.into(), read, make, current, tried: Mutex::new(contents) }))
    }

    /// The value of the last files that were fit. It is the same `Arc` until they change.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.current.subscribe()
    }

    /// Makes the value anew if a file has changed since the last attempt; whether it did. Blocks briefly.
    pub fn reload(&self) -> Result<bool, E> {
        let contents = (self.read)()?;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if *tried == contents {
            return Ok(false);
        }
        let made = (self.make)(&contents);
        *tried = contents;
        self.current.send_replace(Arc::new(made?));
        Ok(true)
    }
}

impl<T, E> Live<T, E>
where
    T: Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    /// Reloads every 5 s, until nobody else holds it. Logs what comes of it.
    pub fn follow(self: &Arc<Self>, runtime: &Runtime) {
        let (weak, clock) = (Arc::downgrade(self), runtime.clone());
        runtime.spawn(async move {
            let mut said = None;
            loop {
                clock.sleep(LOOK_EVERY).await;
                let Some(live) = weak.upgrade() else { return };
                let what = live.what.clone();
                let reloaded = match clock.blocking(move || live.reload()).await {
                    Some(reloaded) => reloaded.map_err(|error| error.to_string()),
                    // Where the process ends instead, this task does too.
                    None => Err("they could not be read: a defect".to_owned()),
                };
                match reloaded {
                    Ok(true) => tracing::info!(what, "files that changed are in use"),
                    Ok(false) => {}
                    Err(error) => {
                        if said.as_ref() != Some(&error) {
                            tracing::error!(what, error, "files that changed are not in use: the last good ones are");
                        }
                        said = Some(error);
                        continue;
                    }
                }
                said = None;
            }
        });
    }
}

impl<T, E> fmt::Debug for Live<T, E> {
    /// Without the value: there are keys in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("what", &self.what).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;

    /// A number in a file.
    fn live(file: PathBuf) -> Arc<Live<u32, String>> {
        let read = move || fs::read(&file).map(|bytes| vec![bytes]).map_err(|error| error.to_string());
        let make = |contents: &[Vec<u8>]| {
            String::from_utf8_lossy(&contents[0]).parse().map_err(|_| "it is no number".to_owned())
        };
        Live::open("a number", read, make).unwrap()
    }

    #[test]
    fn a_change_of_the_same_length_and_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let write = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        write("1");
        let live = live(file.clone());
        assert_eq!(live.reload(), Ok(false));
        write("2");
        assert_eq!((live.reload(), *live.current()), (Ok(true), 2));
    }

    #[test]
    fn files_that_are_not_fit_are_tried_once_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let live = live(file.clone());
        let first = live.current();
        fs::write(&file, "one").unwrap();
        assert_eq!(live.reload(), Err("it is no number".to_owned()));
        assert_eq!(live.reload(), Ok(false), "the same files are not tried twice");
        fs::remove_file(&file).unwrap();
        assert!(live.reload().is_err());
        assert!(Arc::ptr_eq(&first, &live.current()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let read = move || fs::read(&file).map(|bytes| vec![bytes]).map_err(|error| error.to_string());
        let make = |contents: &[Vec<u8>]| match &contents[0][..] {
            b"2" => panic!("a defect"),
            number => Ok(number.to_vec()),
        };
        let live = Live::open("a number", read, make).unwrap();
        let (runtime, mut changed) = (Runtime::system(), live.subscribe());
        live.follow(&runtime);
        for number in ["2", "3"] {
            fs::write(folder.path().join("number"), number).unwrap();
            tokio::time::sleep(LOOK_EVERY * 2).await;
        }
        tokio::time::timeout(LOOK_EVERY * 2, changed.changed()).await.unwrap().unwrap();
        assert_eq!(**changed.borrow(), b"3".to_vec());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_followed_until_nobody_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let (runtime, live) = (Runtime::simulated(1, 0), live(file.clone()));
        live.follow(&runtime);
        fs::write(&file, "one").unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        fs::write(&file, "3").unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(*live.current(), 3);
        let weak = Arc::downgrade(&live);
        drop(live);
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(weak.upgrade().is_none());
    }
}
