//! The service over the embedded log and tables.

mod accounts;
mod circles;
mod engine;
mod followed_tag;
mod graph;
mod handles;
mod many_followers;
mod profiles;
mod search;
mod sessions;
mod shared;
mod suggestions;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use kith_fold::engine::{FoldMetrics, Pace, Ports, create};
use kith_fold::{Projection, Record, State, Token, create_first};
use kith_log::embedded::EmbeddedLog;
use kith_log::{LogPartition, Position, RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::identity::v1::account_service_server::AccountService;
use kith_proto::identity::v1::graph_service_server::GraphService;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    BatchGetRelationshipsRequest, BlockRequest, CreateAccountRequest, CreateAccountResponse, FollowRequest,
    GetAccountRequest, Profile, Relationship, UnblockRequest, UnfollowRequest,
};
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller, Principals, TokenIssuer, Verifier};
use kith_service::config::SignUp;
use kith_service::deadline::Deadline;
use kith_service::keys::{JWKS_FILE, KeyFolder};
use kith_service::rate::{Rate, Refused};
use kith_tables::Digest;
use kith_tables::embedded::EmbeddedTables;
use kith_text::handle::{ReservedHandles, WellKnownHandles};
use tokio::time::Instant;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::{Deps, IdentityService, group};

const PARTITIONS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// The service in a folder of its own. The first field to go is what uses the others.
struct Suite {
    service: IdentityService,
    projection: Arc<Projection>,
    world: World,
}

/// What outlives the process.
struct World {
    ports: Ports,
    /// How often the tables were asked for a slice.
    slices: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
    keys: KeyFolder,
    jwks: std::path::PathBuf,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::system();
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        let tables = EmbeddedTables::open(folder.path().join("tables"), runtime.clone()).unwrap();
        let slices = Arc::new(AtomicUsize::new(0));
        let tables = Arc::new(shared::Shared::new(tables, Arc::clone(&slices)));
        let keys = KeyFolder::at(folder.path().join("keys"));
        keys.create_missing(&runtime).unwrap();
        let jwks = folder.path().join("keys").join(JWKS_FILE);
        let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default(), pace: Pace::default() };
        Self { ports, slices, _folder: folder, keys, jwks }
    }

    /// As `kith init` does.
    async fn create(&self) {
        self.ports.log.create_topics(&topics::ALL).await.unwrap();
        create_first(&self.ports, &group(1)).await.unwrap();
    }

    async fn start(self) -> Suite {
        self.create().await;
        let (projection, service) = self.replica(true).await;
        Suite { service, projection, world: self }
    }

    /// A process that serves, and folds where `folding`.
    async fn replica(&self, folding: bool) -> (Arc<Projection>, IdentityService) {
        self.reserving(folding, &["admin"]).await
    }

    /// One that only serves, and hashes passwords with so much memory.
    async fn hashing(&self, memory_kib: u32) -> (Arc<Projection>, IdentityService) {
        self.serving(false, &[], memory_kib).await
    }

    /// The same with other handles reserved.
    async fn reserving(&self, folding: bool, reserved: &[&str]) -> (Arc<Projection>, IdentityService) {
        self.serving(folding, reserved, 8).await
    }

    async fn serving(
        &self,
        folding: bool,
        reserved: &[&str],
        password_memory_kib: u32,
    ) -> (Arc<Projection>, IdentityService) {
        let projection = kith_stage::projection(&self.ports, group(1), folding).await.unwrap();
        let runtime = self.ports.runtime.clone();
        let kit = kith_stage::kit(&projection, PARTITIONS, 100_000);
        let issuer = TokenIssuer::new(self.keys.signing_key().unwrap(), runtime.clone());
        let verifier = Verifier::open(self.jwks.clone(), runtime).unwrap();
        let deps = Deps {
            kit,
            issuer,
            refresh_token_key: self.keys.refresh_token_key().unwrap(),
            verifier,
            principals: Principals::default(),
            refresh_token_rotates_seconds: 86_400,
            password_memory_kib,
            backfill_window_seconds: 3_600,
            reserved_handles: ReservedHandles::new(reserved).unwrap(),
            well_known_handles: WellKnownHandles::new(["acme"]).unwrap(),
            sign_up: (SignUp::Open, Rate::UNLIMITED),
            refused: Refused::default(),
        };
        (projection, IdentityService::new(deps).unwrap())
    }

    /// The positions of the last records, all partitions.
    async fn heads(&self) -> Token {
        let mut token = Token::default();
        for topic in [topics::IDENTITY, topics::IDENTITY_PRIVATE, topics::REVOCATIONS] {
            let heads = self.ports.log.heads(topic).await.unwrap();
            for (index, head) in (0..).zip(heads).filter(|(_, head)| *head > 0) {
                token.add(Position { partition: LogPartition { topic, index }, offset: head - 1 });
            }
        }
        token
    }

    /// Every record of a topic, partition by partition.
    async fn records(&self, topic: Topic) -> Vec<Record> {
        let mut all = Vec::new();
        for (index, head) in (0..).zip(self.ports.log.heads(topic).await.unwrap()) {
            let mut reader = self.ports.log.read(LogPartition { topic, index }, 0).await.unwrap();
            let mut next = 0;
            while next < head {
                for raw in reader.next().await.unwrap().unwrap() {
                    next = raw.position.offset + 1;
                    let event = Event::decode(topic.name, &raw.value).unwrap();
                    all.push(Record::new(raw.position, raw.id().unwrap(), event));
                }
            }
        }
        all
    }

    /// How many accounts came to be under `handle`.
    async fn accounts_created(&self, handle: &str) -> usize {
        let is_it = |record: &Record| match &record.event {
            Event::Identity(Identity::AccountCreated(event)) => event.handle_key == handle,
            _ => false,
        };
        self.records(topics::IDENTITY).await.iter().filter(|record| is_it(record)).count()
    }
}

impl Suite {
    async fn new() -> Self {
        World::new().start().await
    }

    /// Ends the process as kill -9 would, the log's and the tables' writers apart.
    fn kill(self) -> World {
        self.world
    }

    /// The tables, as they now are.
    fn state(&self) -> State {
        self.projection.serving().unwrap().state.clone()
    }

    /// Waits until everything is folded and nothing more follows from it.
    async fn settled(&self) -> Token {
        loop {
            let heads = self.world.heads().await;
            self.state().at_least(&heads, Instant::now() + PATIENCE).await.unwrap();
            if self.world.heads().await == heads {
                return heads;
            }
        }
    }

    /// What the service's own tables hold.
    async fn digest(&self) -> Digest {
        self.settled().await;
        kith_tables::digest(&**self.state().keyspace(), &group(1).folded_tables()).await.unwrap()
    }

    async fn account(&self, handle: &str) -> RecordId {
        RecordId::parse(&self.created(handle).await.account.unwrap().account_id).unwrap()
    }

    async fn created(&self, handle: &str) -> CreateAccountResponse {
        self.service.create_account(anonymous(new_account(handle, "r-1"))).await.unwrap().into_inner()
    }

    async fn follow(&self, who: RecordId, whom: RecordId) -> Result<String, String> {
        let message = FollowRequest { target_id: whom.to_string(), shows_shares: true, ..FollowRequest::default() };
        let answer = self.service.follow(by(who, message)).await;
        answer.map(|response| response.into_inner().consistency_token).map_err(|status| reason(&status))
    }

    async fn unfollow(&self, who: RecordId, whom: RecordId) -> String {
        let message = UnfollowRequest { target_id: whom.to_string(), ..UnfollowRequest::default() };
        self.service.unfollow(by(who, message)).await.unwrap().into_inner().consistency_token
    }

    async fn block(&self, who: RecordId, whom: RecordId) -> String {
        let message = BlockRequest { target_id: whom.to_string(), ..BlockRequest::default() };
        self.service.block(by(who, message)).await.unwrap().into_inner().consistency_token
    }

    async fn unblock(&self, who: RecordId, whom: RecordId) -> String {
        let message = UnblockRequest { target_id: whom.to_string(), ..UnblockRequest::default() };
        self.service.unblock(by(who, message)).await.unwrap().into_inner().consistency_token
    }

    async fn relationship(&self, who: RecordId, whom: RecordId, at_least: &str) -> Relationship {
        let message = BatchGetRelationshipsRequest {
            target_ids: vec![whom.to_string()],
            at_least: Some(at_least).filter(|token| !token.is_empty()).map(str::to_owned).into_iter().collect(),
        };
        let mut answer = self.service.batch_get_relationships(by(who, message)).await.unwrap().into_inner();
        answer.relationships.remove(0)
    }

    fn partition_of(&self, account: RecordId) -> LogPartition {
        LogPartition::of_key(topics::IDENTITY, &account.to_string(), PARTITIONS)
    }
}

fn new_account(handle: &str, request_id: &str) -> CreateAccountRequest {
    CreateAccountRequest {
        handle: handle.to_owned(),
        password: "correct horse".to_owned(),
        profile: Some(Profile { display_name: "Some One".to_owned(), ..Profile::default() }),
        request_id: request_id.to_owned(),
        ..CreateAccountRequest::default()
    }
}

fn anonymous<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Deadline::after(PATIENCE));
    request
}

fn by<T>(account_id: RecordId, message: T) -> Request<T> {
    let mut request = anonymous(message);
    request.extensions_mut().insert(Authentication::Caller(Caller::of(account_id)));
    request
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_else(|| format!("{status:?}"))
}
