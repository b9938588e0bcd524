//! Of accounts, their sessions and what stands between them.

use kith_content::Content;
use kith_proto::Event;
use kith_proto::identity::private::v1::{
    AccountRequested, AccountStateRequested, ExchangeRequested, HandleChangeRequested, HandleChangeSettled,
    HandleClaimRequested, HandleReleased, IdentityRequested, PasswordChanged, ProfileRequested, RefreshTokenUsed,
    SessionCreated, SessionEnd, SessionEnded, SessionsEnded, identity_private_event::Event as IdentityPrivate,
};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    AccountContent, AccountCreated, AccountDeactivated, AccountReactivated, Blocked, ClientClass, FollowCut,
    FollowRequestAnswered, FollowRequestEnded, FollowRequested, Followed, FollowerRemoved, HandleChanged, HandleLeft,
    IdentityLinked, IdentityUnlinked, MuteScopes, Muted, Profile, ProfileUpdated, SuggestionDismissed, TagFollowed,
    TagUnfollowed, Unblocked, Unfollowed, Unmuted,
};
use kith_proto::revocations::v1::revocation_event::Event as Revocation;
use kith_proto::revocations::v1::{AccountSessionsRevoked, SessionRevoked};

use super::{ADA, BOB, DIGEST, HASH, ISSUER, KEY, SESSION, at};

pub fn all() -> Vec<Event> {
    [identity(), profiles(), presences(), handles(), sessions(), graph(), tags()].concat()
}

fn graph() -> Vec<Event> {
    let (actor_id, target_id) = (|| ADA.to_owned(), || BOB.to_owned());
    let scopes = MuteScopes { posts: true, shares: true, replies: true, notifications: true, conversations: true };
    let muted = Muted {
        actor_id: actor_id(),
        target_id: target_id(),
        scopes: Some(scopes),
        end_time: at(9),
        create_time: at(6),
    };
    let unmuted = Unmuted { actor_id: actor_id(), target_id: target_id(), create_time: at(7) };
    let removed = FollowerRemoved { actor_id: actor_id(), follower_id: target_id(), create_time: at(8) };
    let removed = [Identity::Muted(muted), Identity::Unmuted(unmuted), Identity::FollowerRemoved(removed)];
    removed.into_iter().chain(requests()).map(Event::from).collect()
}

fn requests() -> [Identity; 3] {
    let (follower_id, target_id) = (|| ADA.to_owned(), || BOB.to_owned());
    let requested = FollowRequested {
        follower_id: follower_id(),
        target_id: target_id(),
        shows_shares: true,
        notify: true,
        create_time: at(6),
        seen_target_offset: 5,
        backfill_window_seconds: 604_800,
    };
    let answered =
        FollowRequestAnswered { actor_id: target_id(), follower_id: follower_id(), accepted: true, create_time: at(7) };
    let ended =
        FollowRequestEnded { follower_id: follower_id(), target_id: target_id(), answer_offset: 9, create_time: at(8) };
    [
        Identity::FollowRequested(requested),
        Identity::FollowRequestAnswered(answered),
        Identity::FollowRequestEnded(ended),
    ]
}

fn sessions() -> Vec<Event> {
    let (session_id, account_id) = (|| SESSION.to_owned(), || ADA.to_owned());
    let created = SessionCreated {
        session_id: session_id(),
        account_id: account_id(),
        client: ClientClass::Mobile.into(),
        create_time: at(1),
        password_set_at: 7,
        password_hash: HASH.into(),
        by_identity: true,
        principal: "web".into(),
    };
    let used = RefreshTokenUsed { session_id: session_id(), account_id: account_id(), number: 2, use_time: at(2) };
    let ended = SessionEnded {
        session_id: session_id(),
        account_id: account_id(),
        reason: SessionEnd::TokenReused.into(),
        end_time: at(3),
    };
    let all_ended = SessionsEnded { account_id: account_id(), kept_session_id: session_id(), end_time: at(4) };
    let changed = PasswordChanged {
        account_id: account_id(),
        session_id: session_id(),
        password_hash: HASH.into(),
        password_set_at: 7,
        change_time: at(5),
        is_reset: true,
    };
    let revoked = SessionRevoked { session_id: session_id(), account_id: account_id(), revoke_time: at(3) };
    let all_revoked = AccountSessionsRevoked {
        account_id: account_id(),
        before: 42,
        kept_session_id: session_id(),
        revoke_time: at(4),
    };
    vec![
        IdentityPrivate::SessionCreated(created).into(),
        IdentityPrivate::RefreshTokenUsed(used).into(),
        IdentityPrivate::SessionEnded(ended).into(),
        IdentityPrivate::SessionsEnded(all_ended).into(),
        IdentityPrivate::PasswordChanged(changed).into(),
        Revocation::SessionRevoked(revoked).into(),
        Revocation::AccountSessionsRevoked(all_revoked).into(),
    ]
}

fn identity() -> Vec<Event> {
    let created = AccountCreated {
        account_id: ADA.into(),
        handle_key: "ada_l".into(),
        content: account_content(),
        create_time: at(1),
        intent_offset: 41,
        issuer: ISSUER.into(),
        identity_key: KEY.into(),
        private: true,
    };
    let followed = Followed {
        follower_id: BOB.into(),
        target_id: ADA.into(),
        shows_shares: true,
        notify: true,
        create_time: at(2),
        seen_target_offset: 300,
        backfill_window_seconds: 604_800,
        request_offset: Some(6),
    };
    let cut = FollowCut { follower_id: BOB.into(), target_id: ADA.into(), block_offset: 301, create_time: at(4) };
    let requested = AccountRequested {
        account_id: ADA.into(),
        handle_key: "ada_l".into(),
        content: account_content(),
        password_hash: HASH.into(),
        create_time: at(1),
        payload_digest: DIGEST.into(),
        rules: 1,
        issuer: ISSUER.into(),
        identity_key: KEY.into(),
        private: true,
    };
    let linked = IdentityLinked {
        account_id: ADA.into(),
        issuer: ISSUER.into(),
        identity_key: KEY.into(),
        create_time: at(6),
        intent_offset: 42,
    };
    let unlinked = IdentityUnlinked {
        account_id: ADA.into(),
        issuer: ISSUER.into(),
        identity_key: KEY.into(),
        create_time: at(7),
        intent_offset: 43,
    };
    let wanted = IdentityRequested {
        account_id: ADA.into(),
        issuer: ISSUER.into(),
        identity_key: KEY.into(),
        unlinks: true,
        create_time: at(7),
        payload_digest: DIGEST.into(),
        rules: 1,
    };
    let exchange = ExchangeRequested { account_id: ADA.into(), token_key: KEY.into(), create_time: at(8), rules: 1 };
    vec![
        Identity::IdentityLinked(linked).into(),
        Identity::IdentityUnlinked(unlinked).into(),
        IdentityPrivate::IdentityRequested(wanted).into(),
        IdentityPrivate::ExchangeRequested(exchange).into(),
        Identity::AccountCreated(created).into(),
        Identity::Followed(followed).into(),
        Identity::Unfollowed(Unfollowed { follower_id: BOB.into(), target_id: ADA.into(), create_time: at(3) }).into(),
        Identity::FollowCut(cut).into(),
        Identity::Blocked(Blocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: at(4) }).into(),
        Identity::Unblocked(Unblocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: at(5) }).into(),
        IdentityPrivate::AccountRequested(requested).into(),
    ]
}

fn profiles() -> Vec<Event> {
    let updated = ProfileUpdated {
        account_id: ADA.into(),
        revision: 2,
        content: profile_content(),
        update_time: at(9),
        intent_offset: 44,
        private: true,
    };
    let update = ProfileRequested {
        account_id: ADA.into(),
        expected_revision: 1,
        content: profile_content(),
        request_time: at(9),
        payload_digest: DIGEST.into(),
        rules: 1,
        private: true,
    };
    vec![Identity::ProfileUpdated(updated).into(), IdentityPrivate::ProfileRequested(update).into()]
}

fn presences() -> Vec<Event> {
    let away = AccountDeactivated { account_id: ADA.into(), deactivate_time: at(9), intent_offset: 45 };
    let back = AccountReactivated { account_id: ADA.into(), reactivate_time: at(9), intent_offset: 46 };
    let wanted = AccountStateRequested {
        account_id: ADA.into(),
        deactivates: true,
        request_time: at(9),
        payload_digest: DIGEST.into(),
        rules: 1,
    };
    vec![
        Identity::AccountDeactivated(away).into(),
        Identity::AccountReactivated(back).into(),
        IdentityPrivate::AccountStateRequested(wanted).into(),
    ]
}

fn handles() -> Vec<Event> {
    let (account_id, handle_key) = (|| ADA.to_owned(), || "ada_b".to_owned());
    let content = || Some(Content::close(&AccountContent { handle: "ada_b".into(), profile: None }));
    let wanted = HandleChangeRequested {
        account_id: account_id(),
        handle_key: handle_key(),
        content: content(),
        from_handle_key: "ada_l".into(),
        request_time: at(9),
        payload_digest: DIGEST.into(),
        rules: 1,
    };
    let claimed = HandleClaimRequested {
        account_id: account_id(),
        handle_key: handle_key(),
        change_id: BOB.into(),
        change_offset: 47,
        request_time: at(9),
        rules: 1,
    };
    let settled =
        HandleChangeSettled { account_id: account_id(), change_id: BOB.into(), won: true, settle_time: at(9) };
    let released = HandleReleased {
        account_id: account_id(),
        handle_key: "ada_l".into(),
        settle_offset: 48,
        release_time: at(9),
        free_time: at(10),
    };
    let changed = HandleChanged {
        account_id: account_id(),
        handle_key: handle_key(),
        content: content(),
        change_time: at(9),
        intent_offset: 48,
    };
    let left =
        HandleLeft { account_id: account_id(), handle_key: "ada_l".into(), leave_time: at(9), intent_offset: 48 };
    vec![
        IdentityPrivate::HandleChangeRequested(wanted).into(),
        IdentityPrivate::HandleClaimRequested(claimed).into(),
        IdentityPrivate::HandleChangeSettled(settled).into(),
        IdentityPrivate::HandleReleased(released).into(),
        Identity::HandleChanged(changed).into(),
        Identity::HandleLeft(left).into(),
    ]
}

fn tags() -> Vec<Event> {
    let (account_id, tag) = (|| ADA.to_owned(), || "straße".to_owned());
    let followed = TagFollowed { account_id: account_id(), tag: tag(), create_time: at(10), tags_max: 200 };
    let ended = TagUnfollowed { account_id: account_id(), tag: tag(), create_time: at(11) };
    let target_id = BOB.to_owned();
    let dismissed = SuggestionDismissed { account_id: account_id(), target_id, create_time: at(12) };
    vec![
        Identity::TagFollowed(followed).into(),
        Identity::TagUnfollowed(ended).into(),
        Identity::SuggestionDismissed(dismissed).into(),
    ]
}

fn account_content() -> Option<Content> {
    let (display_name, bio) = ("Ada Łovelace".into(), "Numbers, and what they can't say.".into());
    let profile = Profile { display_name, bio, ..Profile::default() };
    Some(Content::close(&AccountContent { handle: "ada_l".into(), profile: Some(profile) }))
}

fn profile_content() -> Option<Content> {
    let profile = Profile {
        display_name: "Ada Łovelace".into(),
        bio: "Numbers, and what they can say.".into(),
        pronouns: "she/her".into(),
        language: "en-GB".into(),
        avatar_media_id: "img_17".into(),
        banner_media_id: "img_18".into(),
        links: vec!["https://example.org/notes".into()],
        bio_facets: Vec::new(),
        private: true,
    };
    Some(Content::close(&profile))
}
