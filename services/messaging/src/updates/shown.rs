//! What a stream shows of a conversation.

use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_relations::sight::Sight;
use kith_service::Failure;
use kith_service::kit::Seen;
use kith_tables::Timestamp;

use crate::members::Member;
use crate::summary::Summary;
use crate::{inbox, requests};

/// What a change is to the caller.
pub enum Told {
    Update(Box<Update>),
    /// It is kept from the caller by a block with this one.
    LeftOut {
        account_id: String,
    },
    /// Nothing, or it was told with its conversation.
    Nothing,
}

impl From<Option<Update>> for Told {
    fn from(update: Option<Update>) -> Self {
        update.map_or(Self::Nothing, |update| Self::Update(Box::new(update)))
    }
}

/// What the member is told instead of a conversation that waits for it and that a list would not show; `None`: a list would show it.
pub async fn hidden(seen: &Seen<'_>, summary: &Summary, member: &Member) -> Result<Option<Told>, Failure> {
    let hidden = requests::hidden_by(&seen.state, summary, member).await?;
    Ok(hidden.map(|(account_id, sight)| match sight {
        Sight::Blocks | Sight::BlockedBy => Told::LeftOut { account_id },
        Sight::Clear | Sight::Away | Sight::Private => Told::Nothing,
    }))
}

/// The conversation as the member is shown it. Who declined it is shown what it has made of it itself (`is_own`), and nothing else.
pub async fn conversation(
    seen: &Seen<'_>,
    at: Timestamp,
    (conversation_id, summary, member): (&str, &Summary, &Member),
    is_own: bool,
) -> Result<Told, Failure> {
    if !is_own && !member.consent.is_told() {
        return Ok(Told::Nothing);
    }
    if let Some(instead) = hidden(seen, summary, member).await? {
        return Ok(instead);
    }
    Ok(present(seen, at, (conversation_id, summary)).await?.into())
}

/// The conversation as its row in the caller's lists.
pub async fn present(seen: &Seen<'_>, at: Timestamp, of: (&str, &Summary)) -> Result<Option<Update>, Failure> {
    let viewer = (seen.viewer.as_str(), at);
    let shown = inbox::seen_by(&seen.state, &seen.opener(), viewer, of).await?;
    Ok(shown.map(Update::Conversation))
}
