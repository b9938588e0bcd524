//! Streams of updates through the wire: over disconnects and kills of the process that tells them, each change once, in order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest, FollowRequest};
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::update_service_client::UpdateServiceClient;
use kith_proto::messaging::v1::{GetOrCreateDirectRequest, SendMessageRequest, StreamUpdatesRequest};
use kith_runtime::Runtime;
use kith_tests::kith::PORT;
use kith_tests::servers;
use kith_tests::suite::Suite;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const PASSWORD: &str = "correct horse";
const MESSAGES: u64 = 60;
/// A listener hangs up after so many.
const TOLD_PER_STREAM: usize = 7;
const PATIENCE: Duration = Duration::from_secs(120);
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Somebody who is signed in.
#[derive(Clone)]
struct Person {
    account_id: String,
    bearer: String,
    token: String,
}

impl Person {
    fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.bearer).parse().unwrap());
        request
    }
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

async fn person(identity: &Channel, handle: &str) -> Result<Person> {
    let (handle, password) = (handle.to_owned(), PASSWORD.to_owned());
    let create = CreateAccountRequest { handle: handle.clone(), password: password.clone(), ..Default::default() };
    let token =
        AccountServiceClient::new(identity.clone()).create_account(create).await?.into_inner().consistency_token;
    let at_least = vec![token.clone()];
    let create = CreateSessionRequest { handle, password, at_least, ..Default::default() };
    let session = SessionServiceClient::new(identity.clone()).create_session(create).await?.into_inner();
    Ok(Person { account_id: session.account_id, bearer: session.access_token, token })
}

/// Two who follow each other and have a conversation.
async fn two(identity: &Channel, messaging: &Channel) -> Result<([Person; 2], String)> {
    let (ada, bob) = (person(identity, "ada").await?, person(identity, "bob").await?);
    let mut at_least = vec![ada.token.clone(), bob.token.clone()];
    for (one, other) in [(&ada, &bob), (&bob, &ada)] {
        let follow =
            FollowRequest { target_id: other.account_id.clone(), at_least: at_least.clone(), ..Default::default() };
        let followed = GraphServiceClient::new(identity.clone()).follow(one.asks(follow)).await?.into_inner();
        at_least.push(followed.consistency_token);
    }
    let open = GetOrCreateDirectRequest { account_id: bob.account_id.clone(), at_least, ..Default::default() };
    let opened = ConversationServiceClient::new(messaging.clone()).get_or_create_direct(ada.asks(open)).await?;
    let conversation_id = opened.into_inner().conversation.context("no conversation")?.conversation_id;
    Ok(([ada, bob], conversation_id))
}

/// Listens at one process after the other until all messages were told; gives their numbers in the order in which they were.
async fn listen(person: Person, processes: Vec<SocketAddr>) -> Result<Vec<u64>> {
    let (mut cursor, mut numbers, mut is_new) = (String::new(), Vec::new(), true);
    for process in processes.iter().cycle() {
        let told = listen_at(&person, *process, &mut cursor, &mut numbers, is_new).await;
        if numbers.last() == Some(&MESSAGES) {
            return Ok(numbers);
        }
        is_new = is_new && cursor.is_empty();
        if let Err(status) = told {
            ensure!(is_passing(status.code()), "the stream ended: {status:?}");
            // The process is away.
            tokio::time::sleep(TRIED_AGAIN_AFTER).await;
        }
    }
    unreachable!("the processes come round")
}

/// Until it has been told some, or the stream ends.
async fn listen_at(
    person: &Person,
    process: SocketAddr,
    cursor: &mut String,
    numbers: &mut Vec<u64>,
    is_new: bool,
) -> Result<(), Status> {
    let mut client = UpdateServiceClient::new(channel(process));
    let request = StreamUpdatesRequest { cursor: cursor.clone(), at_least: Vec::new() };
    let mut updates = client.stream_updates(person.asks(request)).await?.into_inner();
    let (mut told, mut caught_up) = (0, false);
    while told < TOLD_PER_STREAM {
        let Some(update) = updates.message().await? else { return Ok(()) };
        if !update.cursor.is_empty() {
            cursor.clone_from(&update.cursor);
        }
        match update.update {
            Some(Update::Message(message)) => {
                numbers.push(message.number);
                told += 1;
                if message.number == MESSAGES {
                    return Ok(());
                }
            }
            // It is new, or was read: its messages are told by themselves.
            Some(Update::Conversation(_)) if caught_up => {}
            Some(Update::Conversation(conversation)) => {
                // What is told as a conversation is not told as messages. Nobody is away for so long that it is told later.
                assert!(is_new && numbers.is_empty(), "{conversation:?}");
                numbers.extend(1..=conversation.last_message_number);
            }
            Some(Update::CaughtUp(_)) => caught_up = true,
            Some(Update::Left(_) | Update::MarkerMoved(_) | Update::ReadAgain(_)) | None => {}
        }
    }
    Ok(())
}

/// Whether the process is away, or busy.
fn is_passing(code: Code) -> bool {
    [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal, Code::DeadlineExceeded].contains(&code)
}

/// Sends a message, at one process after the other until one answers.
async fn send(person: &Person, processes: &[SocketAddr], conversation_id: &str, number: u64) -> Result<()> {
    for process in processes.iter().cycle() {
        let request = SendMessageRequest {
            conversation_id: conversation_id.to_owned(),
            text: format!("message {number}"),
            request_id: format!("message-{number}"),
            ..SendMessageRequest::default()
        };
        match MessageServiceClient::new(channel(*process)).send_message(person.asks(request)).await {
            Ok(_) => return Ok(()),
            Err(status) if is_passing(status.code()) => {
                tokio::time::sleep(TRIED_AGAIN_AFTER).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
    unreachable!("the processes come round")
}

/// Both listen while both write, and the process of that name is killed and comes back.
async fn told_over_a_kill(suite: &mut Suite, identity: SocketAddr, names: &[&str]) -> Result<()> {
    let mut processes = Vec::new();
    for name in names {
        processes.push(suite.process(name)?.socket(PORT));
    }
    let (people, conversation_id) = two(&channel(identity), &channel(processes[0])).await?;
    let listeners = people.clone().map(|person| {
        let (one, mut other) = (processes.clone(), processes.clone());
        other.reverse();
        let processes = if person.account_id == people[0].account_id { one } else { other };
        Runtime::system().spawn(tokio::time::timeout(PATIENCE, listen(person, processes)))
    });
    for number in 1..=MESSAGES {
        if number == MESSAGES / 3 {
            suite.process(names[0])?.kill_9()?;
        }
        // Where there is no other one, nobody would take the message.
        if names.len() == 1 && number == MESSAGES / 3 || number == MESSAGES * 2 / 3 {
            suite.process(names[0])?.restart().await?;
        }
        send(&people[usize::from(number % 2 == 0)], &processes, &conversation_id, number).await?;
    }
    for listener in listeners {
        let told = listener.await?.context("not everything was told in time")??;
        assert_eq!(told, (1..=MESSAGES).collect::<Vec<_>>());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_once_over_a_kill() {
    let mut suite = Suite::embedded(10_000).await.unwrap();
    let identity = suite.process("suite").unwrap().socket(PORT);
    told_over_a_kill(&mut suite, identity, &["suite"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_once_by_two_replicas_of_which_one_is_killed() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    suite.add("messaging-2", &[("services", "messaging")], &kafka, &cassandra, keys.path()).await.unwrap();
    let identity = suite.process("identity").unwrap().socket(PORT);
    told_over_a_kill(&mut suite, identity, &["messaging", "messaging-2"]).await.unwrap();
}
