//! The identity service: accounts and their unique handles, sessions, follows, blocks and mutes.
//!
//! Commands append one record each: facts to `kith.identity.v1`, the intent to own a handle to
//! `kith.identity.private.v1`, whose fold decides who wins; sessions and passwords go there too. What a follow and a block or a removal make of each other, which live
//! under two keys, is settled by a process manager ([`graph::Edges`]).

mod account;
pub mod arbiter;
mod change_row;
mod counts;
pub mod edge;
mod exchange;
mod followed;
mod followed_tag;
pub mod followers;
pub mod graph;
mod guesses;
mod handle;
pub mod handle_change;
pub mod link;
mod lists;
mod mute;
mod pair;
mod password;
mod presence;
mod profile;
mod proof;
mod ranking;
mod read;
mod relationship;
mod search;
pub mod session;
pub mod sign_up;
mod suggestion;
mod ties;

use std::sync::Arc;

use kith_fold::{Arbiter, EVENTS, Group};
use kith_log::topics;
use kith_proto::identity::v1::account_service_server::{self, AccountServiceServer};
use kith_proto::identity::v1::graph_service_server::{self, GraphServiceServer};
use kith_proto::identity::v1::rpc;
use kith_proto::identity::v1::session_service_server::{self, SessionServiceServer};
use kith_relations::account::{Accounts, Handles};
use kith_relations::away::Away;
use kith_relations::block::{BlockedBy, Blocks};
use kith_relations::mute::Mutes;
use kith_relations::origin::Origins;
use kith_service::auth::{Principals, TokenIssuer, Verifier};
use kith_service::call::Handlers;
use kith_service::config::SignUp;
use kith_service::keys::secret::Secret;
use kith_service::kit::Kit;
use kith_service::rate::{Rate, Refused};
use kith_service::security::{Happened, Security};
use kith_service::{Failure, limited, rpcs};
use kith_text::handle::{ReservedHandles, WellKnownHandles};
use tonic::service::RoutesBuilder;

use account::Registration;
use guesses::Guesses;
use handle::BarredHandles;
use password::PasswordHasher;
use search::filling::Names;
use session::tokens::SessionTokens;

rpcs! {
    account_service_server::AccountService => IdentityService {
        anyone create_account: rpc::CreateAccount => account::create,
        read get_account: rpc::GetAccount => read::Accounts,
        read batch_get_accounts: rpc::BatchGetAccounts => read::Accounts,
        read resolve_handle: rpc::ResolveHandle => read::Accounts,
        list search_accounts: rpc::SearchAccounts => search::Search,
        contest update_profile: rpc::UpdateProfile => profile::Profiles,
        contest change_handle: rpc::ChangeHandle => handle_change::Changes,
        called deactivate_account: rpc::DeactivateAccount => presence::deactivate,
        anyone reactivate_account: rpc::ReactivateAccount => presence::reactivate,
    }
}

rpcs! {
    session_service_server::SessionService => IdentityService {
        anyone create_session: rpc::CreateSession => session::create::create,
        open refresh_session: rpc::RefreshSession => session::refresh::refresh,
        list list_sessions: rpc::ListSessions => session::fold::Sessions,
        contest revoke_session: rpc::RevokeSession => session::fold::Sessions,
        called revoke_all_sessions: rpc::RevokeAllSessions => session::end::all,
        called change_password: rpc::ChangePassword => session::change_password::change,
        called reset_password: rpc::ResetPassword => session::reset_password::reset,
        open get_signing_keys: rpc::GetSigningKeys => session::keys::signing_keys,
        acting link_identity: rpc::LinkIdentity => link::link,
        acting unlink_identity: rpc::UnlinkIdentity => link::unlink,
        service exchange_token: rpc::ExchangeToken => exchange::create,
    }
}

rpcs! {
    graph_service_server::GraphService => IdentityService {
        command follow: rpc::Follow => relationship::Relationships,
        command unfollow: rpc::Unfollow => relationship::Relationships,
        contest block: rpc::Block => relationship::Relationships,
        command unblock: rpc::Unblock => relationship::Relationships,
        read batch_get_relationships: rpc::BatchGetRelationships => read::Accounts,
        list list_followers: rpc::ListFollowers => lists::Graph,
        list list_following: rpc::ListFollowing => lists::Graph,
        contest remove_follower: rpc::RemoveFollower => relationship::Relationships,
        command mute: rpc::Mute => mute::Muting,
        command unmute: rpc::Unmute => mute::Muting,
        list list_mutes: rpc::ListMutes => lists::Graph,
        list list_blocks: rpc::ListBlocks => lists::Graph,
        list list_mutuals: rpc::ListMutuals => lists::Graph,
        list suggest_accounts: rpc::SuggestAccounts => suggestion::Suggestions,
        command dismiss_suggestion: rpc::DismissSuggestion => suggestion::dismissal::Dismissals,
        contest accept_follow: rpc::AcceptFollow => relationship::Relationships,
        contest reject_follow: rpc::RejectFollow => relationship::Relationships,
        list list_follow_requests: rpc::ListFollowRequests => lists::Graph,
        command follow_tag: rpc::FollowTag => followed_tag::FollowedTags,
        command unfollow_tag: rpc::UnfollowTag => followed_tag::FollowedTags,
        list list_followed_tags: rpc::ListFollowedTags => followed_tag::FollowedTags,
    }
}

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "identity";

/// The service's fold group.
pub fn group(generation: u32) -> Group {
    Group {
        name: GROUP,
        generation,
        folds_version: 5,
        reads: EVENTS,
        topics: vec![topics::IDENTITY, topics::IDENTITY_PRIVATE, topics::REVOCATIONS],
        folds: vec![
            Arc::new(arbiter::Claims),
            Arc::new(handle_change::Changes),
            Arc::new(Arbiter(profile::Profiles)),
            Arc::new(Arbiter(presence::Presences)),
            Arc::new(Arbiter(link::Links)),
            Arc::new(sign_up::SignUps),
            Arc::new(Arbiter(exchange::Exchanges)),
            Arc::new(Accounts),
            Arc::new(Away),
            Arc::new(Handles),
            Arc::new(Origins),
            Arc::new(graph::Edges),
            Arc::new(followers::Followers),
            Arc::new(followed_tag::FollowedTags),
            Arc::new(Blocks),
            Arc::new(BlockedBy),
            Arc::new(Mutes),
            Arc::new(session::fold::Sessions),
            Arc::new(session::revoked::Revoked),
        ],
        shown: None,
    }
}

/// What the service needs.
pub struct Deps {
    pub kit: Arc<Kit>,
    /// Makes access tokens.
    pub issuer: TokenIssuer,
    /// What refresh tokens are made with.
    pub refresh_token_key: Secret,
    /// Knows the public keys that they are verified with.
    pub verifier: Verifier,
    /// Knows whom trusted issuers' tokens prove.
    pub principals: Principals,
    /// How long after its first use a refresh token is followed by the next one.
    pub refresh_token_rotates_seconds: u64,
    /// What one password hash takes, in KiB.
    pub password_memory_kib: u32,
    /// How far back before a follow the other's posts belong in the home feed.
    pub backfill_window_seconds: u64,
    /// Handles that no new account can have.
    pub reserved_handles: ReservedHandles,
    /// Handles for which no new one may be taken.
    pub well_known_handles: WellKnownHandles,
    /// Who may have accounts made, and how many from one address where anybody may.
    pub sign_up: (SignUp, Rate),
    /// Counts and notes those who are refused for a rate, and has where all else is noted.
    pub refused: Refused,
}

/// The service's handlers; clones share everything.
#[derive(Clone)]
pub struct IdentityService {
    shared: Arc<Shared>,
}

struct Shared {
    kit: Arc<Kit>,
    tokens: SessionTokens,
    refresh_token_rotates_us: i64,
    verifier: Verifier,
    principals: Principals,
    passwords: PasswordHasher,
    guesses: Arc<Guesses>,
    security: Security,
    registration: Registration,
    backfill_window_seconds: u32,
    barred_handles: BarredHandles,
    names: Names,
}

impl IdentityService {
    /// Fails when the memory of a password hash is not one that argon2 takes.
    pub fn new(deps: Deps) -> Result<Self, Failure> {
        let passwords = PasswordHasher::new(deps.kit.runtime.clone(), deps.password_memory_kib)?;
        let backfill_window_seconds = u32::try_from(deps.backfill_window_seconds).unwrap_or(u32::MAX);
        let Deps { kit, issuer, refresh_token_key, verifier, principals, .. } = deps;
        let barred_handles = BarredHandles::new(deps.reserved_handles, deps.well_known_handles);
        let rotates_seconds = i64::try_from(deps.refresh_token_rotates_seconds).unwrap_or(i64::MAX);
        let refresh_token_rotates_us = rotates_seconds.saturating_mul(1_000_000);
        let security = deps.refused.security().clone();
        let guesses = Arc::new(Guesses::new(kit.runtime.clone(), &refresh_token_key, deps.refused.clone())?);
        if security.is_noting() {
            guesses.follow(kit.log());
        }
        let tokens = SessionTokens::new(issuer, refresh_token_key)?;
        let registration = Registration::new(kit.runtime.clone(), deps.sign_up, deps.refused);
        let names = Names::new(Arc::clone(&kit));
        let shared = Shared {
            kit,
            tokens,
            refresh_token_rotates_us,
            verifier,
            principals,
            passwords,
            guesses,
            security,
            registration,
            backfill_window_seconds,
            barred_handles,
            names,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Notes what concerns security.
    fn note(&self, happened: Happened) {
        self.shared.security.note(happened);
    }

    /// Adds the service's three gRPC services to those of the process; gives their full names.
    pub fn add_to(&self, routes: &mut RoutesBuilder) -> Vec<&'static str> {
        routes.add_service(limited!(AccountServiceServer::new(self.clone())));
        routes.add_service(limited!(SessionServiceServer::new(self.clone())));
        routes.add_service(limited!(GraphServiceServer::new(self.clone())));
        vec![
            account_service_server::SERVICE_NAME,
            session_service_server::SERVICE_NAME,
            graph_service_server::SERVICE_NAME,
        ]
    }
}

impl Handlers for IdentityService {
    fn kit(&self) -> &Kit {
        &self.shared.kit
    }
}

/// Adds the service's RPCs to those of the process; gives the full names of its gRPC services.
pub fn add_to(routes: &mut RoutesBuilder, deps: Deps) -> Result<Vec<&'static str>, Failure> {
    let service = IdentityService::new(deps)?;
    service.shared.names.begin();
    Ok(service.add_to(routes))
}

#[cfg(test)]
mod tests;
