//! Exchanging a trusted issuer's token for an access token (RFC 8693), once per token: the first intent about it has won for ever.

use async_trait::async_trait;
use kith_fold::{Append, Contest, Found, Record, State};
use kith_log::{RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::ExchangeRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::{ExchangeTokenRequest, ExchangeTokenResponse, rpc};
use kith_proto::rpc::Rpc;
use kith_proto::{Event, time};
use kith_relations::are_ids;
use kith_relations::origin::{ORIGINS, OriginRow};
use kith_service::Failure;
use kith_service::auth::{Asker, Caller};
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::deadline::Deadline;
use kith_service::ids::{self, RequestId};
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, Value, row};

use crate::{IdentityService, link, proof, session};

const TOKEN_KEY_CHARS: usize = 64;

pub static EXCHANGES: Table = Table {
    name: "exchanges",
    partition: &[Column::text("token_key")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<ExchangeRow>("exchange")],
    summary: &[],
};

row! {
    /// The intent that won the token.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ExchangeRow in 0 { pub winning_event_id: String }
}

/// Asks to exchange a token for one of an account.
#[derive(Debug, Clone)]
pub struct Command {
    pub token_key: String,
}

/// Why a token is not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token was exchanged before")]
pub struct Exchanged;

impl From<Exchanged> for Failure {
    fn from(rejection: Exchanged) -> Self {
        Self::new(Reason::TokenExchanged, rejection.to_string())
    }
}

/// Which request exchanges a token, and the RPC that asks.
pub struct Exchanges;

impl Contest for Exchanges {
    type Intent = ExchangeRequested;
    type Summary = ();
    type Claim = ExchangeRow;
    type Subject = OriginRow;

    const CLAIMS: &'static Table = &EXCHANGES;
    const SUBJECTS: &'static Table = &ORIGINS;

    fn intent(record: &Record) -> Option<&ExchangeRequested> {
        match &record.event {
            Event::IdentityPrivate(Private::ExchangeRequested(intent)) => {
                (are_ids(&[&intent.account_id]) && intent.token_key.len() == TOKEN_KEY_CHARS).then_some(intent)
            }
            _ => None,
        }
    }

    fn contended(intent: &ExchangeRequested) -> Key {
        Key::text(&intent.token_key)
    }

    /// The first one has it for ever.
    fn place(_: &Record) -> Vec<Value> {
        Vec::new()
    }

    fn judge((): &mut (), _: &ExchangeRequested, record: &Record) -> ExchangeRow {
        ExchangeRow { winning_event_id: record.id.to_string() }
    }

    /// An access token is no fact: nothing follows in the log.
    fn fact(_: &ExchangeRequested, _: &ExchangeRow, _: &Record) -> Option<Append> {
        None
    }

    fn is_due(_: Option<&OriginRow>, _: u64) -> bool {
        false
    }
}

#[async_trait]
impl Noun for Exchanges {
    type Service = IdentityService;
    type Command = Command;
    type State = Option<ExchangeRow>;
    type Event = Private;
    type Rejection = Exchanged;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.token_key
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Option<ExchangeRow>>, StoreError> {
        let found = exchange(&seen.state, &command.token_key).await?;
        let rests_on = found.as_ref().map(|found| found.position);
        Ok(Standing::new(found.map(|found| found.row), rests_on))
    }

    /// The intent; `None`: this request has exchanged the token already.
    fn decide(row: &Option<ExchangeRow>, asked: &Asked, command: &Command) -> Result<Option<Private>, Exchanged> {
        match row {
            Some(row) if row.winning_event_id == asked.id.to_string() => Ok(None),
            Some(_) => Err(Exchanged),
            None => Ok(Some(Private::ExchangeRequested(ExchangeRequested {
                account_id: asked.actor.clone(),
                token_key: command.token_key.clone(),
                create_time: Some(time::of_us(asked.at.0)),
                rules: 0,
            }))),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Option<ExchangeRow>, _: &Record) {}
}

#[async_trait]
impl Settles<rpc::ExchangeToken> for Exchanges {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<ExchangeTokenResponse>, Unknown> {
        let found = exchange(&seen.state, &command.token_key).await?;
        let row = found.ok_or_else(|| Unknown::defect("an intent was folded, and nobody has its token"))?.row;
        Ok(match row.winning_event_id == asked.id.to_string() {
            true => Verdict::Won(ExchangeTokenResponse::default(), Default::default()),
            false => Verdict::Lost(Exchanged.into()),
        })
    }
}

async fn exchange(state: &State, token_key: &str) -> Result<Option<Found<ExchangeRow>>, StoreError> {
    state.row::<ExchangeRow>(&EXCHANGES, &Key::text(token_key), []).await
}

/// Answers `ExchangeToken`.
pub async fn create(
    service: &IdentityService,
    asker: Asker,
    request: ExchangeTokenRequest,
    deadline: Deadline,
) -> Result<ExchangeTokenResponse, Failure> {
    let kit = &service.shared.kit;
    let request_id = RequestId::parse("request_id", &request.request_id, &kit.runtime)?;
    let token = kit.parse_tokens(&request.at_least)?;
    let identity = proof::identity(service, &asker, &request.subject_token)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    // A link that was ended must be known to have ended.
    session::command::all_of(&seen, &identity.key).await?;
    let owner = link::owner(&seen.state, &identity.key).await?.account_id;
    let unknown = || Failure::not_found(Reason::IdentityNotFound, "account of this identity");
    let account_id = RecordId::parse(&owner).ok_or_else(unknown)?;
    if let Some(principal) = asker.principal() {
        principal.may_act_for(&seen.state, Caller::of(account_id)).await?;
    }
    let id = asker.own(ids::record_id(account_id, rpc::ExchangeToken::NAME, &request_id));
    let digest = ids::payload_digest(&[identity.token_key.as_bytes()]);
    let asked = Asked { id, actor: owner.clone(), digest, at: Timestamp::default() };
    let command = Command { token_key: identity.token_key };
    contest::enter::<Exchanges, rpc::ExchangeToken>(&seen, asked, command).await?;
    // Later in the log than the intent is not needed: whoever wins begins one session, under an id of its own.
    let by = (&*owner, asker.principal_name());
    let session = session::create::begin(service, &seen, by, (ids::item_id(id, b"session"), digest)).await?;
    Ok(ExchangeTokenResponse {
        access_token: session.access_token,
        expire_time: session.expire_time,
        account_id: owner,
        identity: identity.key,
        consistency_token: session.consistency_token,
        refresh_token: session.refresh_token,
        session_id: session.session_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_exchanged_by_one_request() {
        let asked = |id: u8| {
            let (id, actor) = (RecordId([id; 16]), RecordId([1; 16]).to_string());
            Asked { id, actor, digest: [1; 32], at: Timestamp(7) }
        };
        let command = Command { token_key: "a".repeat(64) };
        let writes =
            |row: &Option<ExchangeRow>, id| Exchanges::decide(row, &asked(id), &command).map(|event| event.is_some());
        assert_eq!(writes(&None, 1), Ok(true));
        let won = Some(ExchangeRow { winning_event_id: asked(1).id.to_string() });
        assert_eq!((writes(&won, 1), writes(&won, 2)), (Ok(false), Err(Exchanged)));
    }
}
