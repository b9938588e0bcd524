//! Accounts: what one is asked for with, and how they are read.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kith_fold::{Found, State};
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::AccountRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::Profile;
use kith_proto::time;
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_service::ids::{self, RequestId};
use kith_service::text::{parse_name, parse_text_or_empty};
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError, Timestamp};

use crate::arbiter::ClaimRow;
use crate::handle::Handle;

/// Accounts read at once for one request.
const READS_IN_FLIGHT: usize = 16;

/// An account that someone asks for.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub id: RecordId,
    pub handle: Handle,
    pub profile: Profile,
    payload_digest: [u8; 32],
}

impl NewAccount {
    /// `profile` is a parsed one. The id is a function of the handle and the request id.
    pub fn new(handle: Handle, profile: Profile, request_id: &RequestId) -> Self {
        let texts = [handle.as_str(), &profile.display_name, &profile.bio];
        let payload_digest = ids::payload_digest(&texts.map(str::as_bytes));
        let id = ids::account_id(handle.as_str(), request_id);
        Self { id, handle, profile, payload_digest }
    }

    /// The intent.
    pub fn requested(&self, password_hash: String, at: Timestamp) -> Private {
        Private::AccountRequested(AccountRequested {
            account_id: self.id.to_string(),
            handle: self.handle.as_str().to_owned(),
            profile: Some(self.profile.clone()),
            password_hash,
            create_time: Some(time::of_us(at.0)),
            payload_digest: Bytes::copy_from_slice(&self.payload_digest),
        })
    }

    /// Whether this account has the claim.
    pub fn verdict(&self, claim: &ClaimRow) -> Result<(), Failure> {
        if claim.account_id != self.id.to_string() {
            let taken = "handle is taken";
            return Err(Failure::new(Reason::HandleTaken, taken).violation("handle", "is taken"));
        }
        if claim.payload_digest != self.payload_digest[..] {
            return Err(Failure::request_id_reused());
        }
        Ok(())
    }
}

/// The texts of a profile that someone asks for.
pub fn parse_profile(profile: Option<Profile>) -> Result<Profile, Failure> {
    let Profile { display_name, bio } = profile.unwrap_or_default();
    let display_name = parse_name("profile.display_name", &display_name, limits::DISPLAY_NAME);
    let bio = parse_text_or_empty("profile.bio", &bio, limits::BIO);
    let (display_name, bio) = Failure::both(display_name, bio)?;
    Ok(Profile { display_name, bio })
}

/// An account with the position of the fact that made it.
pub async fn found(state: &State, account_id: &str) -> Result<Option<Found<AccountRow>>, StoreError> {
    state.row::<AccountRow>(&ACCOUNTS, &Key::text(account_id), []).await
}

/// The accounts of these ids, aligned with them.
pub async fn batch(state: &State, account_ids: &[String]) -> Result<Vec<Option<AccountRow>>, StoreError> {
    let read = |id| kith_relations::account::account(state, id).boxed();
    let reads: Vec<_> = account_ids.iter().map(|id| read(id.as_str())).collect();
    stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await
}

/// Who has such a handle from before it was reserved keeps it.
pub fn handle_reserved() -> Failure {
    Failure::new(Reason::HandleReserved, "handle is reserved")
        .with("field", "handle")
        .violation("handle", "is reserved")
}

pub fn not_found() -> Failure {
    Failure::not_found(Reason::AccountNotFound, "account")
}

#[cfg(test)]
mod tests {
    use kith_runtime::Runtime;

    use super::*;

    fn new_account(request_id: &str, bio: &str) -> NewAccount {
        let request_id = RequestId::parse("request_id", request_id, &Runtime::system()).unwrap();
        NewAccount::new(Handle::normalised("ada").unwrap(), profile(bio), &request_id)
    }

    fn profile(bio: &str) -> Profile {
        Profile { display_name: "Ada".into(), bio: bio.into() }
    }

    fn claim_of(account: &NewAccount) -> ClaimRow {
        let account_id = account.id.to_string();
        let payload_digest = Bytes::copy_from_slice(&account.payload_digest);
        ClaimRow { account_id, payload_digest, ..ClaimRow::default() }
    }

    #[test]
    fn the_claim_tells_the_winner_from_the_others() {
        let first = new_account("r-1", "counts");
        let claim = claim_of(&first);
        assert!(first.verdict(&claim).is_ok());
        assert!(new_account("r-1", "counts").verdict(&claim).is_ok(), "the same request again");
        let reason = |account: NewAccount| account.verdict(&claim).unwrap_err().reason_name();
        assert_eq!(reason(new_account("r-1", "other")), "REQUEST_ID_REUSED");
        assert_eq!(reason(new_account("r-2", "counts")), "HANDLE_TAKEN");
    }

    #[test]
    fn texts_of_the_profile_are_bounded_and_named() {
        let failure = parse_profile(Some(profile(&"x".repeat(257)))).unwrap_err();
        assert_eq!((failure.reason_name(), &*failure.field_violations()[0].field), ("TEXT_TOO_LONG", "profile.bio"));
        assert!(parse_profile(Some(profile(&"👨‍👩‍👧‍👦".repeat(10)))).is_ok());
        let named = |display_name: &str| Some(Profile { display_name: display_name.into(), bio: "a\r\nb".into() });
        let failure = parse_profile(named("Ada\u{2067}")).unwrap_err();
        let violations = failure.field_violations();
        assert_eq!((failure.reason_name(), &*violations[0].field), ("FIELD_INVALID", "profile.display_name"));
        let kept = Profile { display_name: "Ada @admin".into(), bio: "a\nb".into() };
        assert_eq!(parse_profile(named(" Ada\n@admin")), Ok(kept));
    }
}
