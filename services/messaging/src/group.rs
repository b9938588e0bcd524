//! Changes of groups: who is in one, who may do what there, what it is called. Each is an intent in the private topic, under the
//! group's key: so all of them have one order, and of two that want the last seat the first in the log wins. Of one that won
//! the arbiter then appends the fact.

mod fact;
mod invited;
mod rpcs;

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{Append, Contest, Found, GROUP_EVENTS, Record, State};
use kith_log::{LogPartition, Position, RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::messaging::private::v1::group_change_requested::Change as Asks;
use kith_proto::messaging::private::v1::messaging_private_event::Event as Private;
use kith_proto::messaging::private::v1::{
    GroupChangeRequested, GroupCreation, MemberLeaving, MemberRemoval, MembersAddition, RoleSetting, TitleSetting,
};
use kith_proto::messaging::v1::{Conversation, GroupTitle, MemberRole};
use kith_proto::time;
use kith_relations::are_ids;
use kith_relations::revision::{intent_after, takes};
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::Verdict;
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Value, row};

use crate::conversation::CONVERSATIONS;
use crate::facts::{GroupRow, of_group};
use crate::roster::{GroupSummary, Refusal};
use crate::summary::Summary;
use crate::{MessagingService, Rejection, conversation, inbox};
use invited::Invited;

pub static GROUP_CLAIMS: Table = Table {
    name: "group_claims",
    partition: &[Column::text("conversation_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: GroupSummary::COLUMNS,
};

row! {
    /// The verdict on an intent. Its row's position is the intent's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        pub won: bool,
        /// A `Refusal`; 0: it won.
        pub refusal: i64,
        /// The revision of the title, as the intent left it.
        pub revision: i64,
        pub payload_digest: Bytes,
    }
}

/// Asks for a change of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub change: Change,
}

/// What is asked for, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Members beside the actor.
    Create {
        title: String,
        member_ids: Vec<String>,
        member_limit: u32,
    },
    Add {
        account_ids: Vec<String>,
    },
    Remove {
        account_id: String,
    },
    SetRole {
        account_id: String,
        role: MemberRole,
    },
    /// `expected_revision` 0: whichever it is.
    SetTitle {
        title: String,
        expected_revision: u32,
    },
    /// `successor_id` empty: nobody.
    Leave {
        successor_id: String,
    },
}

/// What a command is decided on.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The group after all intents that are folded.
    pub group: GroupSummary,
    /// The verdict, if the same intent has been asked for before.
    pub claim: Option<ClaimRow>,
    /// The conversation, which may not be there yet.
    pub summary: Summary,
    /// Of those who are to be put into the group, who were not in it.
    pub invited: Vec<Invited>,
    /// Whether the version of the events is open that has groups.
    pub is_open: bool,
}

/// Which changes win, and the RPCs that ask.
pub struct Groups;

impl Contest for Groups {
    type Intent = GroupChangeRequested;
    type Summary = GroupSummary;
    type Claim = ClaimRow;
    type Subject = GroupRow;

    const CLAIMS: &'static Table = &GROUP_CLAIMS;
    const SUBJECTS: &'static Table = &CONVERSATIONS;

    fn intent(record: &Record) -> Option<&GroupChangeRequested> {
        match &record.event {
            Event::MessagingPrivate(Private::GroupChangeRequested(event)) => is_well_formed(event).then_some(event),
            _ => None,
        }
    }

    fn contended(event: &GroupChangeRequested) -> Key {
        Key::text(&event.conversation_id)
    }

    fn subject(_: &GroupChangeRequested) -> Vec<Value> {
        of_group().to_vec()
    }

    fn judge(group: &mut GroupSummary, event: &GroupChangeRequested, record: &Record) -> ClaimRow {
        let judged = group.judge(event);
        if judged.is_ok() {
            group.changed_next = intent_after(record.position.offset);
        }
        ClaimRow {
            won: judged.is_ok(),
            refusal: judged.err().map_or(0, |refusal| refusal as i64),
            revision: group.revision().into(),
            payload_digest: event.payload_digest.clone(),
        }
    }

    fn fact(event: &GroupChangeRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        if claim.won { fact::of(event, claim.revision, record) } else { None }
    }

    fn is_due(group: Option<&GroupRow>, intent_offset: u64) -> bool {
        group.is_none_or(|group| takes(group.intent_next, intent_offset))
    }
}

fn is_well_formed(event: &GroupChangeRequested) -> bool {
    let named: Vec<&str> = match &event.change {
        Some(Asks::Creation(change)) => change.members.iter().map(|member| member.account_id.as_str()).collect(),
        Some(Asks::Addition(change)) => change.members.iter().map(|member| member.account_id.as_str()).collect(),
        Some(Asks::Removal(change)) => vec![&change.account_id],
        Some(Asks::RoleSetting(change)) => vec![&change.account_id],
        Some(Asks::Leaving(change)) => vec![&change.successor_id],
        Some(Asks::TitleSetting(_)) | None => Vec::new(),
    };
    let named = named.into_iter().filter(|id| !id.is_empty());
    are_ids(&[&[event.conversation_id.as_str(), &event.actor_id][..], &named.collect::<Vec<_>>()].concat())
}

fn intent(before: &Before, asked: &Asked, command: &Command) -> GroupChangeRequested {
    let members = || before.invited.iter().map(Invited::as_member).collect();
    let title = |title: &String| Some(asked.close(&GroupTitle { title: title.clone() }));
    let change = match &command.change {
        Change::Create { title: text, member_limit, .. } => {
            Asks::Creation(GroupCreation { title: title(text), members: members(), member_limit: *member_limit })
        }
        Change::Add { .. } => Asks::Addition(MembersAddition { members: members() }),
        Change::Remove { account_id } => Asks::Removal(MemberRemoval { account_id: account_id.clone() }),
        Change::SetRole { account_id, role } => {
            Asks::RoleSetting(RoleSetting { account_id: account_id.clone(), role: (*role).into() })
        }
        Change::SetTitle { title: text, expected_revision } => {
            Asks::TitleSetting(TitleSetting { title: title(text), expected_revision: *expected_revision })
        }
        Change::Leave { successor_id } => Asks::Leaving(MemberLeaving { successor_id: successor_id.clone() }),
    };
    GroupChangeRequested {
        conversation_id: command.conversation_id.clone(),
        actor_id: asked.actor.clone(),
        request_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
        rules: 0,
        change: Some(change),
    }
}

impl Before {
    /// Whether the group is so already. Titles are closed, and an update of one counts whatever it says.
    fn is_in_effect(&self, command: &Command) -> bool {
        match &command.change {
            Change::Add { .. } => self.invited.is_empty(),
            Change::SetRole { account_id, role } => self.group.roster.role(account_id) == Some(*role),
            Change::Create { .. } | Change::Remove { .. } | Change::SetTitle { .. } | Change::Leave { .. } => false,
        }
    }

    fn refused(&self, refusal: Refusal, asked: &Asked) -> Rejection {
        match refusal {
            Refusal::NotInIt if self.summary.is_direct() && self.summary.members.get(&asked.actor).is_some() => {
                Rejection::NotAGroup
            }
            refusal => Rejection::of(refusal, self.group.revision()),
        }
    }
}

#[async_trait]
impl Noun for Groups {
    type Service = MessagingService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    /// The group first, then the verdict: where the intent has already changed the group, the verdict is there too.
    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, conversation_id) = (&seen.state, &*command.conversation_id);
        let group = group(state, conversation_id).await?;
        let claim = claim(state, conversation_id, asked.id).await?;
        let (found, invited) =
            try_join!(conversation::summary(state, conversation_id), invited::of(state, asked, command, &group))?;
        let summary = found.row;
        let newest = summary.activity_time().max(invited::newest(&invited));
        let rests_on = claim.as_ref().map(|claim| claim.position).or(group.last_change());
        let is_open = seen.events_open() >= GROUP_EVENTS;
        let before = Before { group, claim: claim.map(|claim| claim.row), summary, invited, is_open };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The intent to append; `None`: it is in the log already, or what it asks for is in effect. Whether it wins, the log says; what would
    /// lose in the group as it stands is refused here.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        match &before.claim {
            Some(claim) if claim.payload_digest[..] == asked.digest[..] => return Ok(None),
            Some(_) => return Err(Rejection::RequestIdReused),
            None => {}
        }
        let intent = intent(before, asked, command);
        let judged = before.group.clone().judge(&intent);
        judged.map_err(|refusal| before.refused(refusal, asked))?;
        if before.is_in_effect(command) {
            return Ok(None);
        }
        if !before.is_open {
            return Err(Rejection::EventsNotOpen);
        }
        before.invited.iter().try_for_each(Invited::may_be_added)?;
        Ok(Some(Private::GroupChangeRequested(intent)))
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &Record) {}
}

/// The verdict on a change, which is folded by now; of one that won the group as it stands then, with the fact in it; of one that was
/// in effect, with all that was changed before. `None` in it: the caller is not in the group any more.
async fn settled(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Verdict<Option<Conversation>>, Unknown> {
    let (state, conversation_id) = (&seen.state, &*command.conversation_id);
    let intent = match claim(state, conversation_id, asked.id).await? {
        Some(Found { row: claim, .. }) if !claim.won => {
            let refusal = Refusal::of(claim.refusal).unwrap_or(Refusal::Void);
            let rejection = Rejection::of(refusal, kith_relations::revision::shown(claim.revision));
            return Ok(Verdict::Lost(Failure::from(rejection)));
        }
        Some(won) => won.position,
        None => {
            let last = group(state, conversation_id).await?.last_change();
            last.ok_or_else(|| Unknown::defect("a folded change of a group has no verdict"))?
        }
    };
    let look = || async {
        let key = Key::text(conversation_id);
        let group = state.row::<GroupRow>(&CONVERSATIONS, &key, of_group()).await?;
        Ok(group.filter(|group| !takes(group.row.intent_next, intent)))
    };
    let found = state.until((topics::MESSAGING, conversation_id), seen.deadline.at(), look).await?;
    let summary = conversation::summary(state, conversation_id).await?;
    let viewer = (asked.actor.as_str(), asked.at);
    let shown = inbox::seen_by(state, &seen.opener(), viewer, (conversation_id, &summary.row)).await?;
    let partition = LogPartition::of_key(topics::MESSAGING, conversation_id, state.partition_count());
    let place = Position { partition, offset: found.position.max(summary.position) };
    Ok(Verdict::Won(shown, place.into()))
}

/// The verdict on an intent, if it is folded; its position is the intent's.
async fn claim(state: &State, conversation_id: &str, intent: RecordId) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&GROUP_CLAIMS, &Key::text(conversation_id), [intent.to_string().into()]).await
}

/// The group after all intents that are folded; its conversation may not have got there yet.
async fn group(state: &State, conversation_id: &str) -> Result<GroupSummary, StoreError> {
    let owner = (topics::MESSAGING_PRIVATE, conversation_id);
    let found = state.summary::<GroupSummary>(&GROUP_CLAIMS, &Key::text(conversation_id), owner).await?;
    Ok(found.map(|found| found.row).unwrap_or_default())
}

#[cfg(test)]
mod tests;
