//! Many who want few handles at once, through two replicas over a real broker and a real CQL server: each handle is had by one, also
//! when one of the replicas is killed amid it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{
    Account, ChangeHandleRequest, CreateAccountRequest, CreateSessionRequest, ResolveHandleRequest,
};
use kith_tests::kith::PORT;
use kith_tests::servers;
use kith_tests::suite::{self, Suite};
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

const PASSWORD: &str = "correct horse";
const HANDLES: usize = 50;
/// Of each handle: one by an account that is there, the others by new ones.
const CLAIMS_PER_HANDLE: usize = 20;
const IN_FLIGHT: usize = 100;
/// So many answers, then one replica is killed.
const KILLED_AFTER: usize = 200;
/// A killed member's partitions are handed over after 8 s.
const PATIENCE: Duration = Duration::from_secs(100);
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(50);
const REPLICAS: [&str; 2] = ["identity", "identity-2"];

fn handle(n: usize) -> String {
    format!("star_{n}")
}

/// Somebody who has an account before.
struct Founder {
    account_id: String,
    bearer: String,
    token: String,
}

/// The replicas, and how many claims were answered.
struct Crowd {
    replicas: Vec<AccountServiceClient<Channel>>,
    answered: AtomicUsize,
    enough: Notify,
}

impl Crowd {
    /// Asks one replica after the other, under one request id, until it is known what comes of it.
    async fn claim(&self, number: usize, founders: &[Founder]) -> Result<Account, Status> {
        let until = Instant::now() + PATIENCE;
        for attempt in 0.. {
            let replica = &mut self.replicas[(number + attempt) % REPLICAS.len()].clone();
            match one_claim(replica, number, founders).await {
                Err(status) if is_passing(status.code()) && Instant::now() < until => {
                    tokio::time::sleep(TRIED_AGAIN_AFTER).await
                }
                told => {
                    if self.answered.fetch_add(1, Ordering::Relaxed) + 1 == KILLED_AFTER {
                        self.enough.notify_one();
                    }
                    return told;
                }
            }
        }
        unreachable!("it is asked without an end")
    }
}

fn is_passing(code: Code) -> bool {
    use Code::{Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable, Unknown};
    matches!(code, Unavailable | DeadlineExceeded | ResourceExhausted | Cancelled | Unknown)
}

async fn one_claim(
    replica: &mut AccountServiceClient<Channel>,
    number: usize,
    founders: &[Founder],
) -> Result<Account, Status> {
    let (wanted, request_id) = (handle(number % HANDLES), format!("claim {number}"));
    let account = match founders.get(number) {
        Some(founder) => {
            let at_least = vec![founder.token.clone()];
            let mut request = Request::new(ChangeHandleRequest { handle: wanted, request_id, at_least });
            request.metadata_mut().insert("authorization", format!("Bearer {}", founder.bearer).parse().unwrap());
            replica.change_handle(request).await?.into_inner().account
        }
        None => {
            let (handle, password) = (wanted, PASSWORD.to_owned());
            let request = CreateAccountRequest { handle, password, request_id, ..Default::default() };
            replica.create_account(request).await?.into_inner().account
        }
    };
    Ok(account.unwrap())
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Asks until it is known what comes of it: the replicas have just joined their group.
async fn again<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(status) if is_passing(status.code()) && Instant::now() < until => {
                tokio::time::sleep(TRIED_AGAIN_AFTER).await;
            }
            told => return told.unwrap().into_inner(),
        }
    }
}

async fn founder(identity: &Channel, number: usize) -> Founder {
    let (handle, password) = (format!("founder_{number}"), PASSWORD.to_owned());
    let request_id = "founded".to_owned();
    let create = CreateAccountRequest {
        handle: handle.clone(),
        password: password.clone(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let made = again(async || AccountServiceClient::new(identity.clone()).create_account(create.clone()).await).await;
    let at_least = vec![made.consistency_token.clone()];
    let create = CreateSessionRequest { handle, password, request_id, at_least, ..Default::default() };
    let session =
        again(async || SessionServiceClient::new(identity.clone()).create_session(create.clone()).await).await;
    Founder { account_id: session.account_id, bearer: session.access_token, token: made.consistency_token }
}

async fn each_handle_is_had_by_one(kills: bool) {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    tokio::try_join!(kafka.wipe(), cassandra.wipe()).unwrap();
    suite::init(&kafka, &cassandra, keys.path()).await.unwrap();
    let mut suite = Suite { processes: BTreeMap::new() };
    // What is asked here is who wins, not how well passwords are kept.
    let settings = [("services", "identity"), ("password_memory_kib", "8")];
    for replica in REPLICAS {
        suite.add(replica, &settings, &kafka, &cassandra, keys.path()).await.unwrap();
    }
    let channels = REPLICAS.map(|replica| channel(suite.process(replica).unwrap().socket(PORT)));
    let founding = (0..HANDLES).map(|number| founder(&channels[number % 2], number));
    let founders: Vec<Founder> = stream::iter(founding).buffered(16).collect().await;
    let crowd = Crowd {
        replicas: channels.iter().map(|channel| AccountServiceClient::new(channel.clone())).collect(),
        answered: AtomicUsize::new(0),
        enough: Notify::new(),
    };
    let started = Instant::now();
    let claims = (0..HANDLES * CLAIMS_PER_HANDLE).map(|number| crowd.claim(number, &founders));
    let claims = stream::iter(claims).buffered(IN_FLIGHT).collect::<Vec<_>>();
    let killing = async {
        crowd.enough.notified().await;
        if kills {
            suite.process(REPLICAS[1]).unwrap().kill_9().unwrap();
        }
    };
    let (told, ()) = tokio::join!(claims, killing);
    println!("{} claims, kills: {kills}: {:?}", told.len(), started.elapsed());
    let mut winners: BTreeMap<String, String> = BTreeMap::new();
    for (number, told) in told.iter().enumerate() {
        match told {
            Ok(account) => {
                assert_eq!(account.handle, handle(number % HANDLES));
                let before = winners.insert(account.handle.clone(), account.account_id.clone());
                assert_eq!(before, None, "{} has two owners", account.handle);
            }
            Err(status) => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert_eq!((status.code(), &*reason), (Code::AlreadyExists, "HANDLE_TAKEN"), "{status:?}");
            }
        }
    }
    assert_eq!(winners.len(), HANDLES, "a claim without an account");
    let by_change = founders.iter().filter(|founder| winners.values().any(|winner| *winner == founder.account_id));
    println!("{} of the handles went to accounts that were there", by_change.count());
    lead_to_their_winners(&mut crowd.replicas[0].clone(), &founders, &winners).await;
}

/// Every handle leads to who was told to have it; who was there and lost has kept its own, and nobody has two.
async fn lead_to_their_winners(
    identity: &mut AccountServiceClient<Channel>,
    founders: &[Founder],
    winners: &BTreeMap<String, String>,
) {
    let won: BTreeSet<&String> = winners.values().collect();
    assert_eq!(won.len(), HANDLES, "an account has two");
    let own = |(number, founder): (usize, &Founder)| {
        let is_kept = !won.contains(&founder.account_id);
        (format!("founder_{number}"), is_kept.then(|| founder.account_id.clone()))
    };
    let all = winners.iter().map(|(handle, winner)| (handle.clone(), Some(winner.clone())));
    for (handle, owner) in all.chain(founders.iter().enumerate().map(own)) {
        let mut request = Request::new(ResolveHandleRequest { handle: handle.clone(), at_least: Vec::new() });
        request.metadata_mut().insert("authorization", format!("Bearer {}", founders[0].bearer).parse().unwrap());
        let found = match identity.resolve_handle(request).await {
            Ok(found) => found.into_inner().account.map(|account| account.account_id),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status:?}"),
        };
        assert_eq!(found, owner, "{handle}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_fifty_handles_is_had_by_one_of_a_thousand() {
    each_handle_is_had_by_one(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_fifty_handles_is_had_by_one_of_a_thousand_over_a_kill() {
    each_handle_is_had_by_one(true).await;
}
