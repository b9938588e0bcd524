//! Accounts: what one is asked for with, and who gets it.

mod who;

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{PRIVACY_EVENTS, Record, Token};
use kith_log::{LogPartition, Offset, Position, RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::AccountRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::{AccountContent, CreateAccountRequest, CreateAccountResponse, Profile, rpc};
use kith_proto::time;
use kith_relations::account::AccountRow;
use kith_service::Failure;
use kith_service::auth::{Asker, Identity};
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::deadline::Deadline;
use kith_service::ids::{self, RequestId};
use kith_service::kit::Seen;
use kith_tables::{StoreError, Timestamp};

use crate::arbiter::{ClaimRow, Claims, OwnerSummary, claim, owner};
use crate::counts::counted;
use crate::handle::{Barred, Handle, taken};
use crate::password::Password;
use crate::{IdentityService, link, profile, proof, read, sign_up};

pub use who::Registration;

/// Asks for an account. Nobody acts yet: its id and digest are made here.
pub struct Command {
    account: NewAccount,
    /// The handle's, in the log.
    key: String,
    barred: Option<Barred>,
    /// `None`: the handle could not be had already before the hash was made. Empty without a password.
    password_hash: Option<String>,
}

/// An account that someone asks for.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub id: RecordId,
    pub handle: Handle,
    pub profile: Profile,
    /// What is to prove it besides, or instead of, a password.
    pub identity: Option<Identity>,
    payload_digest: [u8; 32],
}

impl NewAccount {
    /// `profile` is a parsed one. The id is a function of the handle, the request id, and the calling service, if one asks.
    pub fn new(
        handle: Handle,
        profile: Profile,
        identity: Option<Identity>,
        (request_id, asker): (&RequestId, &Asker),
    ) -> Self {
        let texts = [handle.as_str(), &profile.display_name, &profile.bio];
        let key = identity.as_ref().map(|identity| &*identity.key);
        let Profile { pronouns, language, avatar_media_id, banner_media_id, links, private, .. } = &profile;
        let more = [pronouns, language, avatar_media_id, banner_media_id].into_iter().chain(links).map(String::as_str);
        let more = more.chain(private.then_some("private"));
        // Repeats of requests from before profiles had more are recognised.
        let has_more = more.clone().any(|text| !text.is_empty());
        let more = more.filter(|_| has_more);
        let all: Vec<&[u8]> = texts.into_iter().chain(key).chain(more).map(str::as_bytes).collect();
        let payload_digest = ids::payload_digest(&all);
        let id = asker.own(ids::account_id(handle.as_str(), request_id));
        Self { id, handle, profile, identity, payload_digest }
    }

    /// The intent.
    pub fn requested(&self, password_hash: String, asked: &Asked) -> Private {
        let (handle, profile) = (self.handle.as_str().to_owned(), Some(self.profile.clone()));
        let (issuer, identity_key) = match &self.identity {
            Some(identity) => (identity.issuer.clone(), identity.key.clone()),
            None => Default::default(),
        };
        Private::AccountRequested(AccountRequested {
            account_id: self.id.to_string(),
            handle_key: handle.clone(),
            content: Some(asked.close(&AccountContent { handle, profile })),
            password_hash,
            create_time: Some(time::of_us(asked.at.0)),
            payload_digest: Bytes::copy_from_slice(&self.payload_digest),
            rules: 0,
            issuer,
            identity_key,
            private: self.profile.private,
        })
    }

    /// Whether its claim won.
    pub fn verdict(&self, claim: &ClaimRow) -> Result<(), Rejection> {
        if !claim.won {
            return Err(Rejection::HandleTaken);
        }
        if claim.payload_digest != self.payload_digest[..] {
            return Err(Rejection::RequestIdReused);
        }
        Ok(())
    }

    fn asked(&self) -> Asked {
        let (actor, at) = (self.id.to_string(), Timestamp::default());
        Asked { id: self.id, actor, digest: self.payload_digest, at }
    }
}

/// Why an account cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("handle is taken")]
    HandleTaken,
    #[error("handle cannot be had")]
    HandleBarred(Barred),
    #[error("the request id was used for another account")]
    RequestIdReused,
    /// Of two who ask at once for accounts with one identity, the one whose link comes later has an account that nothing proves.
    #[error("the identity is linked to another account")]
    IdentityTaken,
    #[error("operators have not opened the version of the events that has private accounts")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::HandleTaken => taken(),
            Rejection::HandleBarred(barred) => barred.into(),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::IdentityTaken => Self::new(Reason::IdentityTaken, rejection.to_string()),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
        }
    }
}

/// Answers `CreateAccount`.
pub async fn create(
    service: &IdentityService,
    asker: Asker,
    request: CreateAccountRequest,
    deadline: Deadline,
) -> Result<CreateAccountResponse, Failure> {
    let asker = service.shared.registration.who_makes(asker)?;
    let kit = &service.shared.kit;
    let at_least = request.at_least.clone();
    let (account, password) = parse(service, request, &asker)?;
    let seen = kit.see_for(&asker, &kit.parse_tokens(&at_least)?, deadline).await?;
    let asked = account.asked();
    if account.profile.private && seen.events_open() < PRIVACY_EVENTS {
        return Err(Rejection::EventsNotOpen.into());
    }
    let command = prepare(service, &seen, account, (password, &asker)).await?;
    contest::enter::<Claims, rpc::CreateAccount>(&seen, asked, command).await
}

/// A form is filled in once: all that is wrong with it is said at once.
fn parse(
    service: &IdentityService,
    request: CreateAccountRequest,
    asker: &Asker,
) -> Result<(NewAccount, Option<Password>), Failure> {
    let proofs = proofs(service, request.password, &request.subject_token, asker);
    let handle = Handle::parse("handle", &request.handle);
    let profile = profile::parse(request.profile.unwrap_or_default());
    let request_id = RequestId::parse("request_id", &request.request_id, &service.shared.kit.runtime);
    let ((handle, (password, identity)), (profile, request_id)) =
        Failure::both(Failure::both(handle, proofs), Failure::both(profile, request_id))?;
    Ok((NewAccount::new(handle, profile, identity, (&request_id, asker)), password))
}

/// What is to prove the account: a password, or, where a calling service asks, the identity that a token proves, or both.
fn proofs(
    service: &IdentityService,
    password: String,
    subject_token: &str,
    asker: &Asker,
) -> Result<(Option<Password>, Option<Identity>), Failure> {
    if subject_token.is_empty() {
        return Ok((Some(Password::chosen("password", password)?), None));
    }
    if asker.principal().is_none() {
        return Err(Failure::field_invalid("subject_token", "is for calling services"));
    }
    let identity = proof::identity(service, asker, subject_token)?;
    let password = if password.is_empty() { None } else { Some(Password::chosen("password", password)?) };
    Ok((password, Some(identity)))
}

/// Who is not going to get the handle need not have the password hashed.
async fn prepare(
    service: &IdentityService,
    seen: &Seen<'_>,
    mut account: NewAccount,
    (password, asker): (Option<Password>, &Asker),
) -> Result<Command, Failure> {
    let passwords = &service.shared.passwords;
    let barred = service.shared.barred_handles.bars(&account.handle);
    let now = Timestamp(service.shared.kit.runtime.tick());
    let is_open = barred.is_none() && before(seen, &account).await?.0.is_open(&account, now);
    if let Some(identity) = account.identity.as_ref().filter(|_| is_open) {
        let owner = link::owner(&seen.state, &identity.key).await?.account_id;
        if !owner.is_empty() && owner != account.id.to_string() {
            return Err(Rejection::IdentityTaken.into());
        }
    }
    if is_open {
        service.shared.registration.count(asker)?;
        let (account_id, bio) = (account.id.to_string(), &account.profile.bio);
        account.profile.bio_facets = profile::bio_facets(&seen.state, &account_id, bio).await?;
    }
    let password_hash = match password {
        _ if !is_open => None,
        Some(password) => Some(passwords.hash(password, (asker.origin(), seen.deadline)).await?),
        None => Some(String::new()),
    };
    let key = account.handle.key();
    Ok(Command { account, key, barred, password_hash })
}

/// What is known about an account that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The verdict, if it has been asked for before.
    pub claim: Option<ClaimRow>,
    /// Who has the handle.
    pub owner: OwnerSummary,
}

impl Before {
    /// Whether the account could be made now.
    fn is_open(&self, account: &NewAccount, at: Timestamp) -> bool {
        self.claim.is_none() && self.owner.is_free_for(&account.id.to_string(), at)
    }
}

/// With the offset of the intent, if there is one.
async fn before(seen: &Seen<'_>, account: &NewAccount) -> Result<(Before, Option<Offset>), StoreError> {
    let (account_id, state) = (account.id.to_string(), &seen.state);
    let (claim, owner) = try_join!(claim(state, account.handle.as_str(), &account_id), owner(state, &account.handle))?;
    let rests_on = claim.as_ref().map(|claim| claim.position);
    Ok((Before { claim: claim.map(|found| found.row), owner }, rests_on))
}

#[async_trait]
impl Noun for Claims {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.key
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (before, rests_on) = before(seen, &command.account).await?;
        let newest = before.claim.as_ref().map(|claim| claim.create_time).unwrap_or_default();
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The intent; `None`: it is in the log already. Whether it wins, the log says; who has or had the handle is refused here.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        match (&before.claim, command.barred, &command.password_hash) {
            (Some(claim), _, _) => command.account.verdict(claim).map(|()| None),
            (None, _, _) if !before.is_open(&command.account, asked.at) => Err(Rejection::HandleTaken),
            (None, Some(barred), _) => Err(Rejection::HandleBarred(barred)),
            (None, None, Some(hash)) => Ok(Some(command.account.requested(hash.clone(), asked))),
            // It has become free since.
            (None, None, None) => Err(Rejection::HandleTaken),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &Record) {}
}

#[async_trait]
impl Settles<rpc::CreateAccount> for Claims {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<CreateAccountResponse>, Unknown> {
        let (Before { claim, .. }, _) = before(seen, &command.account).await?;
        let claim = claim.ok_or_else(|| Unknown::defect("a folded intent has no verdict"))?;
        // A repeat with another password is answered too: a refusal would tell whether a password fits.
        if let Err(rejection) = command.account.verdict(&claim) {
            return Ok(Verdict::Lost(rejection.into()));
        }
        let (account, fact) = created(seen, &claim.account_id).await?;
        let mut follows = Token::from(fact);
        if let Some(Identity { issuer, key, .. }) = &command.account.identity {
            match sign_up::signed_up(seen, &claim.account_id, &claim.winning_event_id, (issuer, key)).await? {
                Some(linked) => follows.add(linked),
                None => return Ok(Verdict::Lost(Rejection::IdentityTaken.into())),
            }
        }
        let account = Some(counted(&seen.state, account.present(&seen.opener(), &claim.account_id)).await?);
        Ok(Verdict::Won(CreateAccountResponse { account, ..CreateAccountResponse::default() }, follows))
    }
}

/// Waits for the fact that the arbiter appends.
async fn created(seen: &Seen<'_>, account_id: &str) -> Result<(AccountRow, Position), Unknown> {
    let look = || read::found(&seen.state, account_id);
    let found = seen.state.until((topics::IDENTITY, account_id), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::IDENTITY, account_id, seen.state.partition_count());
    Ok((found.row, Position { partition, offset: found.position }))
}

#[cfg(test)]
mod tests {
    use kith_runtime::Runtime;

    use super::*;

    fn new_account(request_id: &str, bio: &str) -> NewAccount {
        let request_id = RequestId::parse("request_id", request_id, &Runtime::system()).unwrap();
        NewAccount::new(Handle::normalised("ada").unwrap(), profile(bio), None, (&request_id, &Asker::default()))
    }

    fn profile(bio: &str) -> Profile {
        Profile { display_name: "Ada".into(), bio: bio.into(), ..Profile::default() }
    }

    fn claim_of(account: &NewAccount) -> ClaimRow {
        let account_id = account.id.to_string();
        let payload_digest = Bytes::copy_from_slice(&account.payload_digest);
        ClaimRow { won: true, account_id, payload_digest, ..ClaimRow::default() }
    }

    #[test]
    fn the_claim_tells_the_winner_from_the_others() {
        let first = new_account("r-1", "counts");
        let claim = claim_of(&first);
        assert!(first.verdict(&claim).is_ok());
        assert!(new_account("r-1", "counts").verdict(&claim).is_ok(), "the same request again");
        assert_eq!(new_account("r-1", "other").verdict(&claim), Err(Rejection::RequestIdReused));
        let lost = ClaimRow { won: false, ..claim };
        assert_eq!(first.verdict(&lost), Err(Rejection::HandleTaken), "and the same again");
    }

    #[test]
    fn a_handle_that_another_has_or_that_is_held_back_is_not_asked_for() {
        let account = new_account("r-1", "counts");
        let command = |barred, hash: Option<&str>| Command {
            account: account.clone(),
            key: account.handle.key(),
            barred,
            password_hash: hash.map(str::to_owned),
        };
        let asked = Asked { at: Timestamp(1_000), ..account.asked() };
        let decide = |owner: OwnerSummary, command| {
            Claims::decide(&Before { claim: None, owner }, &asked, &command).map(|event| event.is_some())
        };
        let owned = OwnerSummary { account_id: "b".repeat(32), ..OwnerSummary::default() };
        let held =
            |until| OwnerSummary { held_for: "b".repeat(32), free_time: Timestamp(until), ..OwnerSummary::default() };
        let hash = || command(None, Some("hash"));
        assert_eq!(decide(OwnerSummary::default(), hash()), Ok(true));
        assert_eq!(decide(owned, hash()), Err(Rejection::HandleTaken));
        assert_eq!(decide(held(1_001), hash()), Err(Rejection::HandleTaken));
        assert_eq!(decide(held(1_000), hash()), Ok(true));
        assert_eq!(
            decide(held(1_000), command(None, None)),
            Err(Rejection::HandleTaken),
            "it was not free a moment ago"
        );
        let barred = decide(OwnerSummary::default(), command(Some(Barred::LooksAlike), None));
        assert_eq!(barred, Err(Rejection::HandleBarred(Barred::LooksAlike)));
    }
}
