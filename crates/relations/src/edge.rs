//! What a record makes of what an account is to another. Pure: the rules that every fold of follows and blocks goes by;
//! which of it a group keeps is in its own rows.

use kith_fold::{AppliedIds, Record};
use kith_log::Offset;
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{FollowRequestAnswered, FollowRequested, Followed};

use crate::{are_ids, signed};

/// What a record says of an actor and a target.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub actor: &'a str,
    pub target: &'a str,
    step: Step<'a>,
    record: &'a Record,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Follow(&'a Followed),
    Unfollow,
    /// Ends a follow that was decided before this offset of the target's log partition was seen.
    Cut {
        block_offset: Offset,
    },
    Block,
    Unblock,
    RemoveFollower,
    Request(&'a FollowRequested),
    Answer(&'a FollowRequestAnswered),
    /// Ends a request that was decided before this offset of the target's log partition was seen.
    EndRequest {
        answer_offset: Offset,
    },
}

/// What the rules look at in a row, and the memory that they keep there.
#[derive(Debug)]
pub struct Edge<'r> {
    pub blocking: bool,
    /// How much of the target's log partition the decision of the last follow, or request to follow, had seen.
    pub seen_target_offset: i64,
    /// What the actor asked for before this offset of its log partition it no longer wants: nothing may come of it.
    pub ended_next: &'r mut i64,
    pub applied: &'r mut AppliedIds,
}

/// What a record makes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn<'a> {
    /// Nothing else than that it is remembered.
    Stays,
    /// The follow begins; where it stands already it gets new settings, and keeps its beginning.
    Follows(&'a Followed),
    EndsFollow,
    /// Also ends the actor's follow of the target.
    Blocks,
    /// Brings back no follow.
    Unblocks,
    /// Says nothing of the actor's own follow; the target's follow of the actor is to be cut, unless it had seen this.
    Removes,
    /// The actor asks to follow, by whatever settings it asked before; who asks has no follow that stands.
    Requests(&'a FollowRequested),
    /// Says nothing of the actor's own follow; the target's request to follow the actor is answered, unless it had seen this.
    Answers(&'a FollowRequestAnswered),
    /// The actor's request is over, and no follow.
    EndsRequest,
}

/// The rule that settles a race of a follow with a block by the one followed, or with its removal of the follower: the follow is
/// cut if and only if its decision had not seen that. A request to follow goes by the same rule: it is ended by a block, and
/// answered by an answer, that it had not seen.
pub fn cuts(block_offset: Offset, seen_target_offset: i64) -> bool {
    u64::try_from(seen_target_offset).unwrap_or(0) <= block_offset
}

impl<'a> Change<'a> {
    /// `None`: the record is about no two accounts, or its ids can be no keys.
    pub fn of(record: &'a Record) -> Option<Self> {
        let Event::Identity(event) = &record.event else { return None };
        let (actor, target, step) = match event {
            Identity::Followed(event) => (&event.follower_id, &event.target_id, Step::Follow(event)),
            Identity::Unfollowed(event) => (&event.follower_id, &event.target_id, Step::Unfollow),
            Identity::FollowCut(event) => {
                (&event.follower_id, &event.target_id, Step::Cut { block_offset: event.block_offset })
            }
            Identity::Blocked(event) => (&event.actor_id, &event.target_id, Step::Block),
            Identity::Unblocked(event) => (&event.actor_id, &event.target_id, Step::Unblock),
            Identity::FollowerRemoved(event) => (&event.actor_id, &event.follower_id, Step::RemoveFollower),
            Identity::FollowRequested(event) => (&event.follower_id, &event.target_id, Step::Request(event)),
            Identity::FollowRequestAnswered(event) => (&event.actor_id, &event.follower_id, Step::Answer(event)),
            Identity::FollowRequestEnded(event) => {
                (&event.follower_id, &event.target_id, Step::EndRequest { answer_offset: event.answer_offset })
            }
            Identity::AccountCreated(_)
            | Identity::ProfileUpdated(_)
            | Identity::Muted(_)
            | Identity::Unmuted(_)
            | Identity::AccountDeactivated(_)
            | Identity::AccountReactivated(_)
            | Identity::IdentityLinked(_)
            | Identity::IdentityUnlinked(_)
            | Identity::HandleChanged(_)
            | Identity::HandleLeft(_)
            | Identity::TagFollowed(_)
            | Identity::TagUnfollowed(_)
            | Identity::SuggestionDismissed(_) => return None,
        };
        (are_ids(&[actor, target]) && actor != target).then_some(Self { actor, target, step, record })
    }

    /// Whether the record is a block; `None`: it neither blocks nor takes a block back.
    pub fn blocking(&self) -> Option<bool> {
        match self.step {
            Step::Block => Some(true),
            Step::Unblock => Some(false),
            Step::Follow(_)
            | Step::Unfollow
            | Step::Cut { .. }
            | Step::RemoveFollower
            | Step::Request(_)
            | Step::Answer(_)
            | Step::EndRequest { .. } => None,
        }
    }

    /// What the record makes of a row. A late copy of a command changes nothing.
    pub fn turn(&self, edge: Edge<'_>) -> Turn<'a> {
        let turn = self.taken(edge.blocking, edge.seen_target_offset, *edge.ended_next, edge.applied);
        // What the target ended, by a block or an answer, it agreed to later or not at all.
        let ends = match self.step {
            Step::Unfollow | Step::Block => true,
            // One that was agreed to is what was asked for.
            Step::Follow(event) => event.request_offset.is_none(),
            _ => false,
        };
        if ends && turn != Turn::Stays {
            *edge.ended_next = signed(self.record.position.offset.saturating_add(1));
        }
        turn
    }

    fn taken(&self, blocking: bool, seen_target_offset: i64, ended_next: i64, applied: &mut AppliedIds) -> Turn<'a> {
        match self.step {
            // These need no memory of their ids: the rule says again what it said before.
            Step::Cut { block_offset } if cuts(block_offset, seen_target_offset) => Turn::EndsFollow,
            Step::EndRequest { answer_offset } if cuts(answer_offset, seen_target_offset) => Turn::EndsRequest,
            Step::Cut { .. } | Step::EndRequest { .. } => Turn::Stays,
            _ if !applied.insert(self.record.id) => Turn::Stays,
            // One's own block, ordered before it, stands against it.
            Step::Follow(_) | Step::Request(_) if blocking => Turn::Stays,
            Step::Follow(Followed { request_offset: Some(asked), .. }) if signed(*asked) < ended_next => Turn::Stays,
            Step::Follow(event) => Turn::Follows(event),
            Step::Request(event) => Turn::Requests(event),
            Step::Unfollow => Turn::EndsFollow,
            Step::Block => Turn::Blocks,
            Step::Unblock => Turn::Unblocks,
            Step::RemoveFollower => Turn::Removes,
            Step::Answer(event) => Turn::Answers(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId, topics};
    use kith_proto::identity::v1::{Blocked, FollowCut, FollowRequestEnded, FollowerRemoved, Unblocked, Unfollowed};

    use super::*;

    const ADA: &str = "000000000000000000000000000000aa";
    const BOB: &str = "000000000000000000000000000000bb";

    fn record(event: Identity) -> Record {
        let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset: 0 };
        Record::new(position, RecordId([1; 16]), event)
    }

    fn followed() -> Identity {
        Identity::Followed(Followed { follower_id: ADA.into(), target_id: BOB.into(), ..Followed::default() })
    }

    fn unfollowed(follower: &str, target: &str) -> Identity {
        let (follower_id, target_id) = (follower.to_owned(), target.to_owned());
        Identity::Unfollowed(Unfollowed { follower_id, target_id, create_time: None })
    }

    fn cut(block_offset: u64) -> Identity {
        let (follower_id, target_id) = (ADA.into(), BOB.into());
        Identity::FollowCut(FollowCut { follower_id, target_id, block_offset, create_time: None })
    }

    fn blocked() -> Identity {
        Identity::Blocked(Blocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn unblocked() -> Identity {
        Identity::Unblocked(Unblocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn removed() -> Identity {
        let (actor_id, follower_id) = (ADA.into(), BOB.into());
        Identity::FollowerRemoved(FollowerRemoved { actor_id, follower_id, create_time: None })
    }

    /// The names of the turns that the event takes, the first time and as a late copy, with and without a block.
    fn turns(event: Identity) -> [String; 3] {
        let record = record(event);
        let change = Change::of(&record).unwrap();
        let turn = |blocking, applied: &mut AppliedIds| {
            let edge = Edge { blocking, seen_target_offset: 5, ended_next: &mut 0, applied };
            let name = format!("{:?}", change.turn(edge));
            name.split('(').next().unwrap().to_owned()
        };
        let mut applied = AppliedIds::default();
        let (first, copy) = (turn(false, &mut applied), turn(false, &mut applied));
        [first, copy, turn(true, &mut AppliedIds::default())]
    }

    fn requested() -> Identity {
        Identity::FollowRequested(FollowRequested {
            follower_id: ADA.into(),
            target_id: BOB.into(),
            ..FollowRequested::default()
        })
    }

    fn answered() -> Identity {
        let (actor_id, follower_id) = (ADA.into(), BOB.into());
        Identity::FollowRequestAnswered(FollowRequestAnswered {
            actor_id,
            follower_id,
            accepted: true,
            create_time: None,
        })
    }

    fn request_ended(answer_offset: u64) -> Identity {
        let (follower_id, target_id) = (ADA.into(), BOB.into());
        Identity::FollowRequestEnded(FollowRequestEnded { follower_id, target_id, answer_offset, create_time: None })
    }

    /// Whether a follow that was agreed to begins anything, if what was asked for at 0 had that happen to it.
    fn agreed_begins(since: Identity) -> bool {
        let agreed = Followed { request_offset: Some(0), follower_id: ADA.into(), ..Followed::default() };
        let agreed = Identity::Followed(Followed { target_id: BOB.into(), ..agreed });
        let (mut ended_next, mut applied) = (0, AppliedIds::default());
        let turns = [(since, 1), (agreed, 2)].map(|(event, offset)| {
            let mut record = record(event);
            record.id = RecordId([offset; 16]);
            record.position.offset = offset.into();
            let edge =
                Edge { blocking: false, seen_target_offset: 5, ended_next: &mut ended_next, applied: &mut applied };
            format!("{:?}", Change::of(&record).unwrap().turn(edge))
        });
        turns[1].starts_with("Follows")
    }

    #[test]
    fn every_event_takes_its_turn_once() {
        assert_eq!(turns(followed()), ["Follows", "Stays", "Stays"], "one's own block stands against it");
        assert_eq!(turns(unfollowed(ADA, BOB)), ["EndsFollow", "Stays", "EndsFollow"]);
        assert_eq!(turns(blocked()), ["Blocks", "Stays", "Blocks"]);
        assert_eq!(turns(unblocked()), ["Unblocks", "Stays", "Unblocks"]);
        assert_eq!(turns(removed()), ["Removes", "Stays", "Removes"]);
        assert_eq!(turns(requested()), ["Requests", "Stays", "Stays"], "one's own block stands against it");
        assert_eq!(turns(answered()), ["Answers", "Stays", "Answers"]);
        assert_eq!(
            (turns(request_ended(5)), turns(request_ended(4))),
            (["EndsRequest"; 3].map(str::to_owned), ["Stays"; 3].map(str::to_owned))
        );
    }

    #[test]
    fn who_is_agreed_to_follows_unless_it_no_longer_asked() {
        for over in [unfollowed(ADA, BOB), blocked(), followed()] {
            assert!(!agreed_begins(over.clone()), "{over:?}");
        }
        for not_over in [cut(5), request_ended(5), requested(), unblocked(), answered()] {
            assert!(agreed_begins(not_over.clone()), "{not_over:?}");
        }
    }

    #[test]
    fn a_follow_is_cut_by_a_block_it_had_not_seen_however_often_and_by_no_other() {
        assert_eq!(turns(cut(5)), ["EndsFollow"; 3]);
        assert_eq!(turns(cut(4)), ["Stays"; 3]);
        assert!(cuts(u64::MAX, i64::MAX) && cuts(0, -1), "the largest and the hostile offsets compare too");
    }

    #[test]
    fn hostile_records_are_about_nobody() {
        let is_about = |follower: &str, target: &str| Change::of(&record(unfollowed(follower, target))).is_some();
        assert!(is_about(ADA, BOB));
        for (follower, target) in [("", ""), (ADA, ""), (ADA, ADA), (ADA, &"f".repeat(9_000)), ("ADA", ADA)] {
            assert!(!is_about(follower, target), "{follower} {target}");
        }
    }
}
