//! Group commit: one thread takes all waiting appends, writes them in one batch with one sync, then answers all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use kith_runtime::UnixMillis;
use tokio::sync::oneshot;

use super::Shared;
use super::frame;
use super::store::{Store, WriteError};
use crate::{AppendError, NewRecord, Note, Position};

/// Appends that wait for the writer; it may hold as many again.
pub(super) const QUEUE_APPENDS: usize = 16_384;
/// Their bytes.
pub(super) const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// One append that waits for its answer.
pub(super) struct Append {
    pub record: NewRecord,
    /// When it came, milliseconds since 1970.
    pub logged_ms: UnixMillis,
    pub partition: Arc<super::Partition>,
    pub note: Note,
    pub answer: oneshot::Sender<Result<Position, AppendError>>,
}

/// Where appends wait for the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<Append>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub fn push(&self, append: Append) -> Result<(), AppendError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = waiting.bytes + append.record.len_bytes();
        if waiting.closed {
            return Err(AppendError::Refused("the log is closed".to_owned()));
        }
        if waiting.appends.len() >= QUEUE_APPENDS || bytes > QUEUE_BYTES {
            return Err(AppendError::Full);
        }
        waiting.bytes = bytes;
        waiting.appends.push(append);
        if waiting.appends.len() == 1 {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Accepts no more; waiting appends are still written.
    pub fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.ready.notify_one();
    }

    /// All waiting appends, at least one; `None` when the queue is closed and empty.
    fn take(&self) -> Option<Vec<Append>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |waiting: &mut Waiting| waiting.appends.is_empty() && !waiting.closed;
        let mut waiting = self.ready.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        let group = std::mem::take(&mut waiting.appends);
        (!group.is_empty()).then_some(group)
    }
}

/// Writes groups of appends. Exactly one at a time, in one thread.
pub(super) struct Writer {
    pub store: Arc<Store>,
    pub shared: Arc<Shared>,
    /// Set after a failed write: the disk's content is then unknown until a restart, so nothing more is written.
    pub poisoned: Arc<AtomicBool>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub fn run(&self, queue: &Queue) {
        let _ended = Ended { writer: self, queue };
        while let Some(group) = queue.take() {
            self.commit(group);
        }
    }

    /// Writes the group, makes it visible to readers, answers it.
    pub fn commit(&self, group: Vec<Append>) {
        if self.poisoned.load(Ordering::Acquire) {
            return refuse(group, "an earlier write failed: restart");
        }
        let frames = frames(&group);
        match self.store.write(&frames) {
            Ok(()) => self.publish(group, frames),
            Err(error) => self.fail(group, error),
        }
    }

    fn publish(&self, group: Vec<Append>, frames: Vec<(Position, Bytes)>) {
        let mut heads = BTreeMap::new();
        let (mut notes, mut answers) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        let mut recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for (Append { partition, note, answer, .. }, (position, frame)) in group.into_iter().zip(frames) {
            recent.push(position, frame);
            notes.push((note, position));
            answers.push((answer, position));
            heads.insert(partition.id, (partition, position.offset + 1));
        }
        drop(recent);
        for (partition, head) in heads.into_values() {
            partition.head.send_replace(head);
        }
        // All of the group first: no caller is answered before the appends that precede its own are noted.
        for (note, position) in notes {
            note(position);
        }
        for (answer, position) in answers {
            // The record is written even if its caller went away.
            let _ = answer.send(Ok(position));
        }
    }

    fn fail(&self, group: Vec<Append>, error: WriteError) {
        self.poisoned.store(true, Ordering::Release);
        match error {
            WriteError::Nothing(why) => refuse(group, &why),
            WriteError::Unknown(why) => {
                tracing::error!(error = %why, "a write to the embedded log failed: no more are taken until a restart");
                for append in group {
                    let _ = append.answer.send(Err(AppendError::Unknown(why.clone())));
                }
            }
        }
    }
}

/// Each append's place and frame. The frames of a group are one allocation: recent records are freed in about that
/// order, and small pieces between fjall's, which are freed at other times, would fragment memory.
fn frames(group: &[Append]) -> Vec<(Position, Bytes)> {
    let mut bytes = Vec::with_capacity(group.iter().map(|append| frame::len_bytes(&append.record)).sum());
    let mut ends = Vec::with_capacity(group.len());
    for (append, position) in group.iter().zip(positions(group)) {
        frame::encode(&mut bytes, position, &append.record, append.logged_ms);
        ends.push((position, bytes.len()));
    }
    let mut bytes = Bytes::from(bytes);
    let mut start = 0;
    let mut frame = |(position, end)| {
        let frame = bytes.split_to(end - start);
        start = end;
        (position, frame)
    };
    ends.into_iter().map(&mut frame).collect()
}

/// The place of each append: its partition's next, in the order of the group.
fn positions(group: &[Append]) -> Vec<Position> {
    let mut next = BTreeMap::new();
    let place = |append: &Append| {
        let partition = append.partition.id;
        let next = next.entry(partition).or_insert_with(|| *append.partition.head.borrow());
        *next += 1;
        Position { partition, offset: *next - 1 }
    };
    group.iter().map(place).collect()
}

fn refuse(group: Vec<Append>, why: &str) {
    for append in group {
        let _ = append.answer.send(Err(AppendError::Refused(why.to_owned())));
    }
}

/// However the writer ends, no caller waits for ever.
struct Ended<'a> {
    writer: &'a Writer,
    queue: &'a Queue,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.writer.poisoned.store(true, Ordering::Release);
        }
        self.queue.close();
        if let Some(left) = self.queue.take() {
            refuse(left, "the log's writer ended");
        }
        self.writer.shared.drained.send_replace(true);
    }
}
