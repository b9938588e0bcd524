//! The ceiling of a command, as a process of its own: a bare tonic handler that appends the same bytes and answers, with
//! the rows of the folds written raw beside it. It looks at nothing and keeps no promise.

mod writer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use kith_fold::Token;
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, Header, LogPartition, NewRecord, Position, Topic, partition_of, topics};
use kith_proto::engagement::v1 as engagement;
use kith_proto::feeds::v1 as feeds;
use kith_proto::messaging::v1 as messaging;
use kith_proto::posts::v1 as posts;
use kith_runtime::Runtime;
use rdkafka::ClientConfig;
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::raw::Raw;
use crate::template::{Kind, Template};
use crate::tokens;
use crate::world::{ACCOUNTS, PARTITIONS};
use writer::{Command, Writer};

/// How the process is set up; one JSON file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    pub listen: SocketAddr,
    /// A folder, or `kafka:HOST:PORT`; `None`: nothing is appended.
    pub log: Option<String>,
    /// A folder, or `cql:HOST:PORT`; `None`: no rows are written.
    pub tables: Option<String>,
    pub templates: BTreeMap<Kind, Template>,
    /// What a home feed's page is answered with: an encoded `GetHomeFeedResponse`.
    pub page: Vec<u8>,
}

/// Where records are appended.
enum Log {
    Embedded(Arc<EmbeddedLog>),
    Kafka(FutureProducer),
    Nowhere,
}

#[derive(Clone)]
struct Bare(Arc<Shared>);

struct Shared {
    log: Log,
    templates: BTreeMap<Kind, (Topic, Template)>,
    writer: Option<Writer>,
    page: feeds::GetHomeFeedResponse,
    numbers: AtomicU64,
}

/// Serves until the process is killed.
pub async fn run(setup: PathBuf) -> Result<()> {
    let setup: Setup = serde_json::from_slice(&std::fs::read(setup)?)?;
    let tables = match setup.tables.as_deref().map(|tables| tables.strip_prefix("cql:").ok_or(tables)) {
        None => None,
        Some(Ok(address)) => Some(Raw::cql(address).await?),
        Some(Err(folder)) => Some(Raw::fjall(folder.as_ref())?),
    };
    let topic = |template: &Template| topics::by_name(&template.topic).context("a topic of ours");
    let templates = setup.templates.into_iter().map(|(kind, template)| Ok((kind, (topic(&template)?, template))));
    let templates: BTreeMap<_, _> = templates.collect::<Result<_>>()?;
    let writer = tables.map(|raw| {
        let rows = templates.iter().map(|(kind, (_, template))| (*kind, template.writes.clone())).collect();
        Writer::start(Arc::new(raw), rows)
    });
    let page = prost_decode(&setup.page)?;
    let log = open_log(setup.log.as_deref()).await?;
    let bare = Bare(Arc::new(Shared { log, templates, writer, page, numbers: AtomicU64::new(0) }));
    // Set on each connection: one that is handed in ready does not get the server's setting.
    let incoming = TcpIncoming::bind(setup.listen)?.with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .add_service(engagement::reaction_service_server::ReactionServiceServer::new(bare.clone()))
        .add_service(posts::post_service_server::PostServiceServer::new(bare.clone()))
        .add_service(messaging::message_service_server::MessageServiceServer::new(bare.clone()))
        .add_service(feeds::feed_service_server::FeedServiceServer::new(bare))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

fn prost_decode(bytes: &[u8]) -> Result<feeds::GetHomeFeedResponse> {
    use prost::Message;
    Ok(feeds::GetHomeFeedResponse::decode(bytes)?)
}

async fn open_log(log: Option<&str>) -> Result<Log> {
    let Some(log) = log else { return Ok(Log::Nowhere) };
    let Some(address) = log.strip_prefix("kafka:") else {
        let log = EmbeddedLog::open(log.as_ref(), PARTITIONS, Runtime::system())?;
        log.create_topics(&topics::ALL).await?;
        return Ok(Log::Embedded(log));
    };
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("bootstrap.servers", address),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("linger.ms", "0"),
        ("compression.type", "lz4"),
        ("queue.buffering.max.messages", "100000"),
    ] {
        config.set(key, value);
    }
    Ok(Log::Kafka(config.create()?))
}

fn sealed(token: &Token) -> Result<String, Status> {
    tokens::seal(token).map_err(|error| Status::internal(error.to_string()))
}

impl Shared {
    /// Appends, hands the rows on, and gives the token.
    async fn command(&self, kind: Kind, key: &str, actor: u64) -> Result<String, Status> {
        let failed = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
        let (topic, template) = self.templates.get(&kind).ok_or_else(|| Status::unimplemented("no such kind"))?;
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let partition = LogPartition { topic: *topic, index: partition_of(key, PARTITIONS) };
        let position = match &self.log {
            Log::Nowhere => Position { partition, offset: n },
            Log::Embedded(log) => log.append(record(*topic, key, template)).await.map_err(|error| failed(&error))?,
            Log::Kafka(producer) => {
                let headers = template.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(KafkaHeader { key, value: Some(value) })
                });
                let record = FutureRecord::to(topic.name).partition(i32::from(partition.index)).headers(headers);
                let sent = producer.send(record.key(key).payload(&template.value), Duration::from_secs(3)).await;
                let delivered = sent.map_err(|(error, _)| failed(&error))?;
                Position { partition, offset: delivered.offset.unsigned_abs() }
            }
        };
        if let Some(writer) = &self.writer {
            let subject = u64::from_str_radix(key.get(..12).unwrap_or(key), 16).unwrap_or(n);
            writer.take(usize::from(partition.index), Command { kind, n, actor, subject }).await;
        }
        sealed(&position.into())
    }
}

fn record(topic: Topic, key: &str, template: &Template) -> NewRecord {
    let header = |(name, value): &(String, String)| Header::new(name, value.clone());
    let headers = template.headers.iter().map(header).collect();
    NewRecord { topic, key: key.to_owned(), headers, value: Bytes::copy_from_slice(&template.value) }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not measured"))
}

#[async_trait]
impl engagement::reaction_service_server::ReactionService for Bare {
    async fn react(
        &self,
        request: Request<engagement::ReactRequest>,
    ) -> Result<Response<engagement::ReactResponse>, Status> {
        let engagement::ReactRequest { subject, kind, .. } = request.into_inner();
        let post_id = subject.as_ref().map_or("", |subject| &subject.post_id);
        let actor = self.0.numbers.load(Ordering::Relaxed) % ACCOUNTS;
        let consistency_token = self.0.command(Kind::React, post_id, actor).await?;
        let actor_id = post_id.to_owned();
        let reaction =
            engagement::Reaction { actor_id, subject, kind, create_time: Some(kith_proto::time::timestamp(1)) };
        Ok(Response::new(engagement::ReactResponse { reaction: Some(reaction), consistency_token }))
    }

    async fn unreact(
        &self,
        _request: Request<engagement::UnreactRequest>,
    ) -> Result<Response<engagement::UnreactResponse>, Status> {
        absent()
    }
}

#[async_trait]
impl posts::post_service_server::PostService for Bare {
    async fn create_post(
        &self,
        request: Request<posts::CreatePostRequest>,
    ) -> Result<Response<posts::CreatePostResponse>, Status> {
        let posts::CreatePostRequest { text, languages, .. } = request.into_inner();
        let n = self.0.numbers.load(Ordering::Relaxed);
        let post_id = crate::world::text_id(crate::world::Thing::Post, (1 << 40) | n);
        let consistency_token = self.0.command(Kind::CreatePost, &post_id, n % ACCOUNTS).await?;
        let create_time = Some(kith_proto::time::timestamp(1));
        let author_id = post_id.clone();
        let post =
            posts::Post { post_id, author_id, text, languages, revision: 1, create_time, ..posts::Post::default() };
        Ok(Response::new(posts::CreatePostResponse { post: Some(post), consistency_token }))
    }

    async fn edit_post(
        &self,
        _request: Request<posts::EditPostRequest>,
    ) -> Result<Response<posts::EditPostResponse>, Status> {
        absent()
    }

    async fn get_post(
        &self,
        _request: Request<posts::GetPostRequest>,
    ) -> Result<Response<posts::GetPostResponse>, Status> {
        absent()
    }

    async fn batch_get_posts(
        &self,
        _request: Request<posts::BatchGetPostsRequest>,
    ) -> Result<Response<posts::BatchGetPostsResponse>, Status> {
        absent()
    }

    async fn delete_post(
        &self,
        _request: Request<posts::DeletePostRequest>,
    ) -> Result<Response<posts::DeletePostResponse>, Status> {
        absent()
    }
}

#[async_trait]
impl messaging::message_service_server::MessageService for Bare {
    async fn send_message(
        &self,
        request: Request<messaging::SendMessageRequest>,
    ) -> Result<Response<messaging::SendMessageResponse>, Status> {
        let messaging::SendMessageRequest { conversation_id, text, .. } = request.into_inner();
        let consistency_token = self.0.command(Kind::SendMessage, &conversation_id, 0).await?;
        let (message_id, sender_id) = (conversation_id.clone(), conversation_id.clone());
        let create_time = Some(kith_proto::time::timestamp(1));
        let message = messaging::SentMessage {
            conversation_id,
            message_id,
            sender_id,
            text,
            create_time,
            ..messaging::SentMessage::default()
        };
        Ok(Response::new(messaging::SendMessageResponse { message: Some(message), consistency_token }))
    }

    async fn edit_message(
        &self,
        _request: Request<messaging::EditMessageRequest>,
    ) -> Result<Response<messaging::EditMessageResponse>, Status> {
        absent()
    }

    async fn unsend_message(
        &self,
        _request: Request<messaging::UnsendMessageRequest>,
    ) -> Result<Response<messaging::UnsendMessageResponse>, Status> {
        absent()
    }

    async fn react_to_message(
        &self,
        _request: Request<messaging::ReactToMessageRequest>,
    ) -> Result<Response<messaging::ReactToMessageResponse>, Status> {
        absent()
    }

    async fn remove_message_reaction(
        &self,
        _request: Request<messaging::RemoveMessageReactionRequest>,
    ) -> Result<Response<messaging::RemoveMessageReactionResponse>, Status> {
        absent()
    }

    async fn list_messages(
        &self,
        _request: Request<messaging::ListMessagesRequest>,
    ) -> Result<Response<messaging::ListMessagesResponse>, Status> {
        absent()
    }

    async fn mark_read(
        &self,
        _request: Request<messaging::MarkReadRequest>,
    ) -> Result<Response<messaging::MarkReadResponse>, Status> {
        absent()
    }

    async fn get_unread_counts(
        &self,
        _request: Request<messaging::GetUnreadCountsRequest>,
    ) -> Result<Response<messaging::GetUnreadCountsResponse>, Status> {
        absent()
    }
}

#[async_trait]
impl feeds::feed_service_server::FeedService for Bare {
    async fn get_home_feed(
        &self,
        _request: Request<feeds::GetHomeFeedRequest>,
    ) -> Result<Response<feeds::GetHomeFeedResponse>, Status> {
        Ok(Response::new(self.0.page.clone()))
    }

    async fn get_author_feed(
        &self,
        _request: Request<feeds::GetAuthorFeedRequest>,
    ) -> Result<Response<feeds::GetAuthorFeedResponse>, Status> {
        absent()
    }

    async fn get_tag_feed(
        &self,
        _request: Request<feeds::GetTagFeedRequest>,
    ) -> Result<Response<feeds::GetTagFeedResponse>, Status> {
        absent()
    }

    async fn explain_feed_entry(
        &self,
        _request: Request<feeds::ExplainFeedEntryRequest>,
    ) -> Result<Response<feeds::ExplainFeedEntryResponse>, Status> {
        absent()
    }

    /// Answers when all rows handed on so far are written.
    async fn wait_for(
        &self,
        _request: Request<feeds::WaitForRequest>,
    ) -> Result<Response<feeds::WaitForResponse>, Status> {
        if let Some(writer) = &self.0.writer {
            writer.drained().await.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(Response::new(feeds::WaitForResponse { as_of: sealed(&Token::default())?, incomplete: false }))
    }
}
