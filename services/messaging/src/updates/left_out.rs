//! What a stream left out for its caller, by whom: told once they are in its sight.

use std::collections::{BTreeMap, BTreeSet};

use kith_fold::State;
use kith_relations::sight::Viewer;
use kith_tables::StoreError;

/// Conversations of one stream that are remembered so. Behind that many none more is.
const CONVERSATIONS_MAX: usize = 256;
/// Accounts of each: all members of a group.
const ACCOUNTS_MAX: usize = kith_service::limits::GROUP_MEMBERS;
/// Accounts whose sight is asked for at once.
const ASKED_AT_ONCE: usize = 512;

/// By conversation, those who wrote what was left out.
#[derive(Debug, Default)]
pub struct LeftOut(BTreeMap<String, BTreeSet<String>>);

impl LeftOut {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A message of that account was left out.
    pub fn add(&mut self, conversation_id: &str, sender_id: &str) {
        let known = self.0.contains_key(conversation_id);
        if !known && self.0.len() >= CONVERSATIONS_MAX {
            return;
        }
        let senders = self.0.entry(conversation_id.to_owned()).or_default();
        if senders.len() < ACCOUNTS_MAX {
            senders.insert(sender_id.to_owned());
        }
    }

    /// Forgets, and gives, the conversations of those who are in the viewer's sight now.
    pub async fn seen_again(&mut self, state: &State, viewer: &str) -> Result<Vec<String>, StoreError> {
        let senders: BTreeSet<String> = self.0.values().flatten().cloned().collect();
        let senders: Vec<String> = senders.into_iter().collect();
        let mut clear = BTreeSet::new();
        for some in senders.chunks(ASKED_AT_ONCE) {
            let sights = Viewer::new(state, viewer).blocks(some.iter().map(String::as_str)).await?;
            clear.extend(some.iter().filter(|sender| sights.of(sender).is_clear()).cloned());
        }
        let mut again = Vec::new();
        self.0.retain(|conversation_id, senders| {
            let before = senders.len();
            senders.retain(|sender| !clear.contains(sender));
            if senders.len() < before {
                again.push(conversation_id.clone());
            }
            !senders.is_empty()
        });
        Ok(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut left_out = LeftOut::default();
        for n in 0..2 * CONVERSATIONS_MAX {
            left_out.add(&format!("{n}"), "ada");
        }
        for n in 0..2 * ACCOUNTS_MAX {
            left_out.add("0", &format!("{n}"));
        }
        assert_eq!((left_out.0.len(), left_out.0["0"].len()), (CONVERSATIONS_MAX, ACCOUNTS_MAX));
    }
}
