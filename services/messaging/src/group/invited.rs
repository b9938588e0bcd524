//! Who may be put into a group by whom.

use futures::{StreamExt, TryStreamExt, stream, try_join};
use kith_fold::State;
use kith_log::RecordId;
use kith_proto::messaging::v1::NewMember;
use kith_relations::account;
use kith_relations::sight::{Sight, Viewer};
use kith_service::command::Asked;
use kith_tables::{StoreError, Timestamp};

use super::{Change, Command};
use crate::Rejection;
use crate::policy::Door;
use crate::rejection::Unaddable;
use crate::roster::GroupSummary;

/// Accounts that are looked at at a time.
const LOOKS_IN_FLIGHT: usize = 16;

/// Somebody who is to be put into a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Invited {
    pub account_id: String,
    /// How the one who asks sees the account; `None`: there is none.
    pub sight: Option<Sight>,
    /// How the account stands to the one who asks.
    pub door: Door,
    pub create_time: Timestamp,
}

impl Invited {
    pub fn as_member(&self) -> NewMember {
        NewMember {
            account_id: self.account_id.clone(),
            asked: !self.door.follows.stands,
            seen_identity_offset: self.door.follows.seen_offset,
        }
    }

    pub fn may_be_added(&self) -> Result<(), Rejection> {
        let why = match self.sight {
            None | Some(Sight::BlockedBy | Sight::Away) => Unaddable::NotFound,
            Some(Sight::Blocks) => Unaddable::Blocked,
            Some(Sight::Clear | Sight::Private) if !self.door.admits() => Unaddable::NotAllowed,
            Some(Sight::Clear | Sight::Private) => return Ok(()),
        };
        Err(Rejection::CannotAdd(why, RecordId::parse(&self.account_id).unwrap_or_default()))
    }
}

/// When the last of them was made.
pub fn newest(invited: &[Invited]) -> Timestamp {
    invited.iter().map(|invited| invited.create_time).max().unwrap_or_default()
}

/// Those of the command who are not in the group as it stands.
pub async fn of(
    state: &State,
    asked: &Asked,
    command: &Command,
    group: &GroupSummary,
) -> Result<Vec<Invited>, StoreError> {
    let (Change::Create { member_ids: ids, .. } | Change::Add { account_ids: ids }) = &command.change else {
        return Ok(Vec::new());
    };
    let new: Vec<&String> = ids.iter().filter(|id| group.roster.role(id).is_none()).collect();
    let sights = Viewer::new(state, &asked.actor).meetings(new.iter().map(|id| id.as_str())).await?;
    let look = |account_id: &String| {
        let (account_id, sight) = (account_id.clone(), sights.of(account_id));
        async move {
            let (account, door) =
                try_join!(account::account(state, &account_id), Door::of(state, &account_id, &asked.actor))?;
            let create_time = account.as_ref().map(|account| account.create_time).unwrap_or_default();
            Ok::<_, StoreError>(Invited { account_id, sight: account.map(|_| sight), door, create_time })
        }
    };
    stream::iter(new.into_iter().map(look)).buffered(LOOKS_IN_FLIGHT).try_collect().await
}
