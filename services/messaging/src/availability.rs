//! Whether one account may write to another.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::CONSENT_EVENTS;
use kith_log::RecordId;
use kith_proto::messaging::v1::{Availability, GetAvailabilityRequest, GetAvailabilityResponse, MessagingPolicy, rpc};
use kith_relations::account;
use kith_relations::sight::{Sight, Viewer};
use kith_service::Failure;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::Reads;

use crate::direct::direct_id;
use crate::policy::Door;
use crate::summary::Summary;
use crate::{MessagingService, Rejection, conversation};

/// How an account may be written to. What it has declined looks like what it has not answered. Before the events are open by
/// which a conversation can wait (`may_wait`), a stranger's comes into the inbox.
fn availability(summary: &Summary, caller: &str, door: &Door, may_wait: bool) -> Availability {
    let exists = summary.exists();
    match door.policy {
        _ if exists && !summary.awaits_others(caller) => Availability::Open,
        MessagingPolicy::Followed if !door.admits() => Availability::FollowedOnly,
        MessagingPolicy::Nobody => Availability::Nobody,
        _ if summary.is_full_for(caller) => Availability::AwaitsAcceptance,
        _ if !exists && (door.follows.stands || !may_wait) => Availability::Open,
        _ => Availability::AsRequest,
    }
}

/// Who may write to whom.
pub struct Availabilities;

#[async_trait]
impl Reads<rpc::GetAvailability> for Availabilities {
    type Service = MessagingService;
    type Wanted = RecordId;

    fn parse(request: GetAvailabilityRequest) -> Result<RecordId, Failure> {
        parse_id("account_id", &request.account_id)
    }

    async fn read(
        _: &MessagingService,
        seen: &Seen<'_>,
        account: RecordId,
    ) -> Result<GetAvailabilityResponse, Failure> {
        let (state, account_id) = (&seen.state, account.to_string());
        let caller = RecordId::parse(&seen.viewer).ok_or_else(Failure::internal)?;
        let told = |availability: Availability| GetAvailabilityResponse {
            availability: availability.into(),
            ..GetAvailabilityResponse::default()
        };
        if caller == account {
            return Ok(told(Availability::Self_));
        }
        let conversation_id = direct_id(caller, account).to_string();
        let viewer = Viewer::new(state, &seen.viewer);
        let (known, sight, found, door) = try_join!(
            account::account(state, &account_id),
            viewer.meeting(&account_id),
            conversation::summary(state, &conversation_id),
            Door::of(state, &account_id, &seen.viewer),
        )?;
        match known.map(|_| sight) {
            None | Some(Sight::BlockedBy | Sight::Away) => Err(Rejection::AccountNotFound.into()),
            Some(Sight::Blocks) => Ok(told(Availability::Blocked)),
            Some(Sight::Clear | Sight::Private) => {
                let may_wait = seen.events_open() >= CONSENT_EVENTS;
                Ok(told(availability(&found.row, &seen.viewer, &door, may_wait)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::messaging::v1::{ConversationCreated, MessageSent};
    use kith_relations::follow::Following;
    use kith_tables::Timestamp;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);

    fn door(policy: MessagingPolicy, stands: bool) -> Door {
        Door { policy, follows: Following { stands, seen_offset: 0 } }
    }

    /// Opened by ADA, a stranger to BOB.
    fn waiting(messages: u64) -> Summary {
        let mut summary = Summary::default();
        let event = ConversationCreated {
            member_ids: vec![ADA.to_string(), BOB.to_string()],
            creator_id: ADA.to_string(),
            asked_member_ids: vec![BOB.to_string()],
            ..ConversationCreated::default()
        };
        summary.create(&event, Timestamp(1), ADA);
        let sent = MessageSent { sender_id: ADA.to_string(), ..MessageSent::default() };
        (0..messages).for_each(|offset| assert!(summary.send(&sent, Timestamp(2), offset).is_some()));
        summary
    }

    #[test]
    fn a_stranger_may_ask_and_then_waits() {
        let to = |summary: &Summary, door| availability(summary, &ADA.to_string(), &door, true);
        let everyone = |follows| door(MessagingPolicy::Everyone, follows);
        assert_eq!(to(&Summary::default(), everyone(true)), Availability::Open);
        assert_eq!(to(&Summary::default(), everyone(false)), Availability::AsRequest);
        assert_eq!(to(&waiting(0), everyone(true)), Availability::AsRequest, "it stays a request");
        assert_eq!(to(&waiting(3), everyone(false)), Availability::AwaitsAcceptance);
        let mut declined = waiting(3);
        declined.decline(&BOB.to_string(), 0);
        assert_eq!(to(&declined, everyone(false)), Availability::AwaitsAcceptance, "nothing is told");
    }

    #[test]
    fn a_policy_keeps_out_until_a_conversation_is_accepted() {
        let to = |summary: &Summary, door| availability(summary, &ADA.to_string(), &door, true);
        for summary in [Summary::default(), waiting(1), waiting(3)] {
            assert_eq!(to(&summary, door(MessagingPolicy::Nobody, true)), Availability::Nobody);
            assert_eq!(to(&summary, door(MessagingPolicy::Followed, false)), Availability::FollowedOnly);
        }
        assert_eq!(to(&Summary::default(), door(MessagingPolicy::Followed, true)), Availability::Open);
        let mut accepted = waiting(3);
        accepted.accept(&BOB.to_string(), 0, 9);
        assert_eq!(to(&accepted, door(MessagingPolicy::Nobody, false)), Availability::Open);
        assert_eq!(
            availability(&waiting(3), &BOB.to_string(), &door(MessagingPolicy::Nobody, false), true),
            Availability::Open
        );
    }
}
