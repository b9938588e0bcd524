//! What people say and are called, closed: texts, names, profiles, reasons. Events and rows carry it as one message that
//! folds and tables cannot look into; whoever answers a read opens it in its last step.
//!
//! Inside it is clear for now. Sealing it under keys that can be destroyed changes [`Content::close`] and
//! [`Opener::open`], and nothing that holds a [`Content`].

use bytes::Bytes;
use prost::Message;

/// `kith.content.v1.Content`: a message that only an [`Opener`] reads. The default holds nothing.
///
/// Two are equal when their bytes are: a record that says the same twice changes no row.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
#[prost(skip_debug)]
pub struct Content {
    #[prost(bytes = "bytes", tag = "1")]
    clear: Bytes,
}

/// Never what it says.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.clear.len())
    }
}

impl Content {
    /// What `said` says, closed. For the kit, where a command becomes an event, and for tests.
    pub fn close(said: &impl Message) -> Self {
        Self { clear: said.encode_to_vec().into() }
    }

    /// As it stands in a row's column, which is as in an event: what is closed stays closed.
    pub fn into_stored(self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// From a row's column; `None`: nothing of ours.
    pub fn from_stored(stored: Bytes) -> Option<Self> {
        Self::decode(stored).ok()
    }

    /// Whether there is nothing in it: what was taken away.
    pub fn is_empty(&self) -> bool {
        self.clear.is_empty()
    }
}

/// Opens content. An answer has one from the kit; a tidy test keeps others from making one.
#[derive(Debug, Clone, Copy)]
pub struct Opener(());

impl Opener {
    /// For the kit of handlers, and for tests.
    #[allow(clippy::new_without_default, reason = "to have one is a right")]
    pub fn new() -> Self {
        Self(())
    }

    /// What was said. Bytes that are not of this message say nothing: they are our own encoding, and a part that a newer
    /// release wrote is left out.
    pub fn open<M: Message + Default>(&self, content: &Content) -> M {
        M::decode(content.clear.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_closed_opens_and_is_not_shown() {
        let content = Content::close(&"hello".to_owned());
        assert_eq!(Opener::new().open::<String>(&content), "hello");
        assert_eq!(format!("{content:?}"), "Content(7 bytes)");
        assert_eq!(Content::from_stored(content.clone().into_stored()), Some(content));
        assert_eq!(Content::from_stored(Bytes::from_static(b"\xff\xff")), None);
        assert!(Content::close(&String::new()).is_empty() && Content::default().is_empty());
    }

    #[test]
    fn it_reads_back_from_its_wire_form() {
        let content = Content::close(&"hello".to_owned());
        assert_eq!(Content::decode(&*content.encode_to_vec()).unwrap(), content);
        let hostile = Content { clear: Bytes::from_static(b"\xff\xff") };
        assert_eq!(Opener::new().open::<String>(&hostile), "");
    }
}
