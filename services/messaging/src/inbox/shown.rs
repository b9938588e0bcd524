//! Conversations as answers show them: without what is out of the caller's sight now.

use futures::try_join;
use kith_content::Opener;
use kith_fold::State;
use kith_proto::messaging::v1::{Conversation, ConversationKind};
use kith_relations::away;
use kith_relations::sight::Viewer;
use kith_tables::{StoreError, Timestamp};

use super::InboxRow;
use crate::summary::Summary;

/// The conversation as one of its members sees it, wherever it stands for that one; `None`: it is not in it.
///
/// It costs, beside the summary, up to 4 reads of `away`, and in a group 2 of blocks.
pub async fn seen_by(
    state: &State,
    opener: &Opener,
    (account_id, at): (&str, Timestamp),
    (conversation_id, summary): (&str, &Summary),
) -> Result<Option<Conversation>, StoreError> {
    let shown = as_member(opener, (account_id, at), conversation_id, summary);
    Ok(in_sight(state, account_id, shown.into_iter().collect()).await?.pop())
}

fn as_member(
    opener: &Opener,
    (account_id, at): (&str, Timestamp),
    conversation_id: &str,
    summary: &Summary,
) -> Option<Conversation> {
    let member = summary.members.get(account_id)?;
    let consent = member.consent.present().into();
    Some(Conversation { consent, ..InboxRow::of(summary, member).present(opener, conversation_id, at) })
}

/// As the caller sees them: without other members that are away, and in a group without the last message of one in a block with the
/// caller.
pub(super) async fn in_sight(
    state: &State,
    caller: &str,
    mut conversations: Vec<Conversation>,
) -> Result<Vec<Conversation>, StoreError> {
    let is_group = |conversation: &Conversation| conversation.kind() == ConversationKind::Group;
    let members = conversations.iter().flat_map(|conversation| &conversation.member_ids);
    let groups = conversations.iter().filter(|conversation| is_group(conversation));
    let senders = groups.filter_map(|group| group.last_message.as_ref()).map(|last| last.sender_id.as_str());
    let looks = Viewer::new(state, caller);
    let (apart, sights) = try_join!(
        away::among(state, members.map(String::as_str).filter(|member| *member != caller)),
        looks.blocks(senders)
    )?;
    for conversation in &mut conversations {
        conversation.member_ids.retain(|member| !apart.away.contains(member));
        if is_group(conversation) {
            conversation.last_message.take_if(|last| !sights.of(&last.sender_id).is_clear());
        }
    }
    Ok(conversations)
}
