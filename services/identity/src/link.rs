//! Which account an identity of a trusted issuer proves: at most one at a time, as the intents about the identity say in their order.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{Append, Contest, Found, Record, State, WaitError};
use kith_log::{LogPartition, Offset, Position, RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::IdentityRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    IdentityLinked, IdentityUnlinked, LinkIdentityRequest, LinkIdentityResponse, UnlinkIdentityRequest,
    UnlinkIdentityResponse, rpc,
};
use kith_proto::rpc::Rpc;
use kith_proto::{Event, time};
use kith_relations::are_ids;
use kith_relations::origin::{self, ORIGINS, OriginRow};
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::deadline::Deadline;
use kith_service::ids::{self, RequestId};
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, Value, row};

use crate::{IdentityService, proof};

pub static IDENTITIES: Table = Table {
    name: "identities",
    partition: &[Column::text("identity_key")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<VerdictRow>("verdict")],
    summary: OwnerSummary::COLUMNS,
};

row! {
    /// The verdict on an intent. Its row's position is the intent's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct VerdictRow in 0 { pub won: bool, pub issuer: String, pub payload_digest: Bytes }
}
row! {
    /// Which account the identity proves; empty: none. Its issuer, once it was linked.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct OwnerSummary in 0 { pub account_id: String, pub issuer: String }
}

/// Asks to link an identity to an account, or to end that.
#[derive(Debug, Clone)]
pub struct Command {
    pub identity_key: String,
    pub wish: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Link { issuer: String },
    Unlink,
}

/// What a decision looks at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    /// The verdict, if the same intent was asked for before.
    pub verdict: Option<VerdictRow>,
    pub owner: OwnerSummary,
}

/// Why a link cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the identity is linked to another account")]
    Taken,
    #[error("the request id was used for another identity")]
    RequestIdReused,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Taken => Self::new(Reason::IdentityTaken, rejection.to_string()),
            Rejection::RequestIdReused => Self::request_id_reused(),
        }
    }
}

/// Which account an identity proves, and the RPCs that ask.
pub struct Links;

impl Contest for Links {
    type Intent = IdentityRequested;
    type Summary = OwnerSummary;
    type Claim = VerdictRow;
    type Subject = OriginRow;

    const CLAIMS: &'static Table = &IDENTITIES;
    const SUBJECTS: &'static Table = &ORIGINS;

    fn intent(record: &Record) -> Option<&IdentityRequested> {
        match &record.event {
            Event::IdentityPrivate(Private::IdentityRequested(intent)) => {
                let fits = are_ids(&[&intent.account_id]) && origin::is_identity(&intent.issuer, &intent.identity_key);
                fits.then_some(intent)
            }
            _ => None,
        }
    }

    fn contended(intent: &IdentityRequested) -> Key {
        Key::text(&intent.identity_key)
    }

    fn subject(intent: &IdentityRequested) -> Vec<Value> {
        origin::place(&intent.issuer, &intent.identity_key).into()
    }

    fn judge(owner: &mut OwnerSummary, intent: &IdentityRequested, _: &Record) -> VerdictRow {
        let is_own = owner.account_id == intent.account_id;
        let won = is_own || (!intent.unlinks && owner.account_id.is_empty());
        if won {
            owner.account_id = if intent.unlinks { String::new() } else { intent.account_id.clone() };
            owner.issuer.clone_from(&intent.issuer);
        }
        VerdictRow { won, issuer: intent.issuer.clone(), payload_digest: intent.payload_digest.clone() }
    }

    fn fact(intent: &IdentityRequested, verdict: &VerdictRow, record: &Record) -> Option<Append> {
        verdict.won.then(|| won(intent, record))
    }

    fn is_due(subject: Option<&OriginRow>, intent_offset: u64) -> bool {
        subject.is_none_or(|row| origin::takes(row, intent_offset))
    }
}

/// The fact that follows from a won intent.
fn won(intent: &IdentityRequested, record: &Record) -> Append {
    let (account_id, issuer) = (intent.account_id.clone(), intent.issuer.clone());
    let (identity_key, create_time) = (intent.identity_key.clone(), Some(time::of_us(record.time.0)));
    let intent_offset = record.position.offset;
    let (what, event) = match intent.unlinks {
        false => {
            let linked = IdentityLinked { account_id, issuer, identity_key, create_time, intent_offset };
            (&b"IdentityLinked"[..], Identity::IdentityLinked(linked))
        }
        true => {
            let unlinked = IdentityUnlinked { account_id, issuer, identity_key, create_time, intent_offset };
            (&b"IdentityUnlinked"[..], Identity::IdentityUnlinked(unlinked))
        }
    };
    Append {
        topic: topics::IDENTITY,
        key: intent.account_id.clone(),
        id: ids::item_id(record.id, what),
        event: event.into(),
        cause: record.cause(),
    }
}

#[async_trait]
impl Noun for Links {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.identity_key
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let identity_key = &*command.identity_key;
        let (found, owner) = try_join!(verdict(&seen.state, identity_key, asked.id), owner(&seen.state, identity_key))?;
        let rests_on = found.as_ref().map(|found| found.position);
        Ok(Standing::new(Before { verdict: found.map(|found| found.row), owner }, rests_on))
    }

    /// The intent; `None`: it is in the log already, or there is nothing to change.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        match (&before.verdict, &command.wish) {
            (Some(verdict), _) if verdict.payload_digest[..] == asked.digest[..] => Ok(None),
            (Some(_), _) => Err(Rejection::RequestIdReused),
            (None, Wish::Unlink) if before.owner.account_id == asked.actor => {
                Ok(Some(requested(asked, command, &before.owner.issuer, true)))
            }
            (None, Wish::Unlink) => Ok(None),
            (None, Wish::Link { issuer }) if before.owner.account_id.is_empty() => {
                Ok(Some(requested(asked, command, issuer, false)))
            }
            (None, Wish::Link { .. }) if before.owner.account_id == asked.actor => Ok(None),
            (None, Wish::Link { .. }) => Err(Rejection::Taken),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &Record) {}
}

fn requested(asked: &Asked, command: &Command, issuer: &str, unlinks: bool) -> Private {
    Private::IdentityRequested(IdentityRequested {
        account_id: asked.actor.clone(),
        issuer: issuer.to_owned(),
        identity_key: command.identity_key.clone(),
        unlinks,
        create_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
        rules: 0,
    })
}

#[async_trait]
impl Settles<rpc::LinkIdentity> for Links {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<LinkIdentityResponse>, Unknown> {
        let Some(place) = settled(seen, asked, command).await? else {
            return Ok(Verdict::Lost(Rejection::Taken.into()));
        };
        let issuer = match &command.wish {
            Wish::Link { issuer } => issuer.clone(),
            Wish::Unlink => String::new(),
        };
        let identity = command.identity_key.clone();
        let response = LinkIdentityResponse { identity, issuer, ..LinkIdentityResponse::default() };
        Ok(Verdict::Won(response, place.into_iter().collect()))
    }
}

#[async_trait]
impl Settles<rpc::UnlinkIdentity> for Links {
    /// One that lost was not linked to the account at its place in the log: there was nothing to end.
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<UnlinkIdentityResponse>, Unknown> {
        let place = settled(seen, asked, command).await?.flatten();
        Ok(Verdict::Won(UnlinkIdentityResponse::default(), place.into_iter().collect()))
    }
}

/// The place of the fact, once it is folded: `Some(None)` where there is none, since nothing was linked. `None`: the intent lost.
async fn settled(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Option<Option<Position>>, Unknown> {
    let identity_key = &*command.identity_key;
    let Some(found) = verdict(&seen.state, identity_key, asked.id).await? else {
        return Ok(Some(match &command.wish {
            // Another intent has linked it: its fact, whichever it is, is to be in the answer's token.
            Wish::Link { issuer } => Some(Account { id: &asked.actor, issuer, identity_key }.reached(seen, 0).await?),
            Wish::Unlink => None,
        }));
    };
    if !found.row.won {
        return Ok(None);
    }
    let account = Account { id: &asked.actor, issuer: &found.row.issuer, identity_key };
    Ok(Some(Some(account.reached(seen, found.position).await?)))
}

/// An account, and an identity that is to be linked to it.
pub struct Account<'a> {
    pub id: &'a str,
    pub issuer: &'a str,
    pub identity_key: &'a str,
}

impl Account<'_> {
    /// Waits until the fact of the intent at that offset, or of a later one, is folded.
    pub async fn reached(&self, seen: &Seen<'_>, intent_offset: Offset) -> Result<Position, WaitError> {
        let look = || async {
            let found = origin::link(&seen.state, self.id, self.issuer, self.identity_key).await?;
            Ok(found.filter(|found| !origin::takes(&found.row, intent_offset)))
        };
        let found = seen.state.until((topics::IDENTITY, self.id), seen.deadline.at(), look).await?;
        let partition = LogPartition::of_key(topics::IDENTITY, self.id, seen.state.partition_count());
        Ok(Position { partition, offset: found.position })
    }
}

/// Which account the identity proves.
pub async fn owner(state: &State, identity_key: &str) -> Result<OwnerSummary, StoreError> {
    let place = (topics::IDENTITY_PRIVATE, identity_key);
    let found = state.summary::<OwnerSummary>(&IDENTITIES, &Key::text(identity_key), place).await?;
    Ok(found.map(|found| found.row).unwrap_or_default())
}

pub async fn verdict(
    state: &State,
    identity_key: &str,
    intent: RecordId,
) -> Result<Option<Found<VerdictRow>>, StoreError> {
    state.row::<VerdictRow>(&IDENTITIES, &Key::text(identity_key), [intent.to_string().into()]).await
}

/// Answers `LinkIdentity`.
pub async fn link(
    service: &IdentityService,
    asker: Asker,
    request: LinkIdentityRequest,
    deadline: Deadline,
) -> Result<LinkIdentityResponse, Failure> {
    let kit = &service.shared.kit;
    let request_id = RequestId::parse("request_id", &request.request_id, &kit.runtime)?;
    let token = kit.parse_tokens(&request.at_least)?;
    let identity = proof::identity(service, &asker, &request.subject_token)?;
    let command = Command { identity_key: identity.key, wish: Wish::Link { issuer: identity.issuer } };
    let asked = asked::<rpc::LinkIdentity>(&asker, &request_id, &command)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    contest::enter::<Links, rpc::LinkIdentity>(&seen, asked, command).await
}

/// Answers `UnlinkIdentity`.
pub async fn unlink(
    service: &IdentityService,
    asker: Asker,
    request: UnlinkIdentityRequest,
    deadline: Deadline,
) -> Result<UnlinkIdentityResponse, Failure> {
    let kit = &service.shared.kit;
    let request_id = RequestId::parse("request_id", &request.request_id, &kit.runtime)?;
    let token = kit.parse_tokens(&request.at_least)?;
    let identity_key = request.identity;
    // Any issuer will do for a check of the key.
    if !origin::is_identity("-", &identity_key) {
        return Err(Failure::field_invalid("identity", "is not 64 characters of 0-9a-f"));
    }
    let command = Command { identity_key, wish: Wish::Unlink };
    let asked = asked::<rpc::UnlinkIdentity>(&asker, &request_id, &command)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    contest::enter::<Links, rpc::UnlinkIdentity>(&seen, asked, command).await
}

fn asked<R: Rpc>(asker: &Asker, request_id: &RequestId, command: &Command) -> Result<Asked, Failure> {
    let id = asker.record_id(R::NAME, request_id)?;
    let digest = ids::payload_digest(&[command.identity_key.as_bytes(), &[u8::from(command.wish == Wish::Unlink)]]);
    Ok(Asked { id, actor: asker.viewer(), digest, at: Timestamp::default() })
}

#[cfg(test)]
mod tests;
