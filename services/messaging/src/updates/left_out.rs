//! What streams left out for their caller, by whom: told once they are in its sight.

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

#[derive(Debug, Default)]
pub struct LeftOut {
    /// By conversation, those who wrote what was left out, or keep it from the caller.
    by: BTreeMap<String, BTreeSet<String>>,
    /// Those of whom an earlier stream may have left something out.
    earlier: BTreeSet<String>,
}

/// What is in sight again.
#[derive(Debug, Default)]
pub struct SeenAgain {
    pub conversations: Vec<String>,
    /// Of whom an earlier stream may have left something out, in whatever conversation.
    pub accounts: BTreeSet<String>,
}

impl LeftOut {
    /// `earlier`: the accounts that are in a block with the caller now, and perhaps were before the stream began.
    pub fn of(earlier: BTreeSet<String>) -> Self {
        Self { by: BTreeMap::new(), earlier }
    }

    pub fn is_empty(&self) -> bool {
        self.by.is_empty() && self.earlier.is_empty()
    }

    /// Something was left out for a block with that account.
    pub fn add(&mut self, conversation_id: &str, account_id: &str) {
        let known = self.by.contains_key(conversation_id);
        if !known && self.by.len() >= CONVERSATIONS_MAX {
            return;
        }
        let accounts = self.by.entry(conversation_id.to_owned()).or_default();
        if accounts.len() < ACCOUNTS_MAX {
            accounts.insert(account_id.to_owned());
        }
    }

    /// Forgets, and gives, what is in the viewer's sight now.
    pub async fn seen_again(&mut self, state: &State, viewer: &str) -> Result<SeenAgain, StoreError> {
        let accounts: BTreeSet<String> = self.by.values().flatten().chain(&self.earlier).cloned().collect();
        let accounts: Vec<String> = accounts.into_iter().collect();
        let mut clear = BTreeSet::new();
        for some in accounts.chunks(ASKED_AT_ONCE) {
            let sights = Viewer::new(state, viewer).blocks(some.iter().map(String::as_str)).await?;
            clear.extend(some.iter().filter(|account| sights.of(account).is_clear()).cloned());
        }
        let mut again = SeenAgain::default();
        self.by.retain(|conversation_id, accounts| {
            let before = accounts.len();
            accounts.retain(|account| !clear.contains(account));
            if accounts.len() < before {
                again.conversations.push(conversation_id.clone());
            }
            !accounts.is_empty()
        });
        again.accounts = self.earlier.intersection(&clear).cloned().collect();
        self.earlier.retain(|account| !clear.contains(account));
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
        assert_eq!((left_out.by.len(), left_out.by["0"].len()), (CONVERSATIONS_MAX, ACCOUNTS_MAX));
    }
}
