//! The client: a few connections to one address, and calls of each kind by number.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, future};
use kith_fold::Token;
use kith_proto::engagement::v1::engagement_service_client::EngagementServiceClient;
use kith_proto::engagement::v1::reaction_service_client::ReactionServiceClient;
use kith_proto::engagement::v1::{BatchGetCountsRequest, BatchGetCountsResponse, ReactRequest};
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::feeds::v1::{GetHomeFeedRequest, GetHomeFeedResponse, WaitForRequest};
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::messaging::v1::{GetUnreadCountsRequest, SendMessageRequest};
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_proto::posts::v1::{BatchGetPostsRequest, CreatePostRequest, CreatePostResponse};
use kith_runtime::Runtime;
use kith_service::auth::TokenIssuer;
use kith_service::keys::KeyFolder;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::line::{Connection, Line};
use crate::load::Call;
use crate::template::Kind;
use crate::world::{self, TEXT, Thing};

/// A connection may have 256 calls open.
const CONNECTIONS: usize = 4;
const WIDE_CONNECTIONS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(25);
const FOLDED_WITHIN: Duration = Duration::from_secs(300);

/// Who may call: a bearer token an account.
pub type Bearers = Arc<Vec<MetadataValue<Ascii>>>;

/// Signs tokens of accounts `0..count` with the key in the folder; makes it where it is missing.
pub fn bearers(keys: &Path, count: u64) -> Result<Bearers> {
    let (folder, runtime) = (KeyFolder::at(keys), Runtime::system());
    folder.create_missing(&runtime)?;
    let issuer = TokenIssuer::new(folder.signing_key()?, runtime);
    let bearer = |n| {
        let token = issuer.issue(world::id(Thing::Account, n)).ok().context("a token")?;
        Ok(format!("Bearer {}", token.text).parse()?)
    };
    Ok(Arc::new((0..count).map(bearer).collect::<Result<_>>()?))
}

/// Which posts are reacted to.
#[derive(Debug, Clone, Copy)]
pub enum Subjects {
    Uniform(u64),
    /// This one only: each call changes its actor's reaction.
    One(u64),
}

/// One address that is called.
#[derive(Clone)]
pub struct Target<C = Channel> {
    /// Cloned for every call, so all of it is shared.
    connections: Arc<[C]>,
    address: SocketAddr,
    next: Arc<AtomicUsize>,
    bearers: Bearers,
    /// Tells the calls of one run of the bench from those of another.
    run: Arc<str>,
}

impl Target {
    pub fn new(address: SocketAddr, bearers: Bearers, run: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).timeout(DEADLINE);
        let connections = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { connections, address, next: Arc::default(), bearers, run: run.into() })
    }

    /// The same over more connections, which cost less: as many calls as a server takes at once must not wait here for a
    /// stream, nor take its cores.
    pub async fn wide(&self) -> Result<Target<Line>> {
        let connections = (0..WIDE_CONNECTIONS).map(|_| Line::connect(self.address));
        let connections = future::try_join_all(connections).await?.into();
        let Self { address, next, bearers, run, .. } = self.clone();
        Ok(Target { connections, address, next, bearers, run })
    }
}

impl<C: Connection> Target<C> {
    fn connection(&self) -> C {
        self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()].clone()
    }

    fn request<T>(&self, account: u64, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = self.bearers[account as usize % self.bearers.len()].clone();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    /// Commands of one kind.
    pub fn commands(&self, kind: Kind, subjects: Subjects) -> Call {
        let (target, accounts) = (self.clone(), self.bearers.len() as u64);
        Arc::new(move |n| {
            let target = target.clone();
            async move { target.command(kind, subjects, n, n % accounts).await }.boxed()
        })
    }

    /// Six reactions to two posts and two messages.
    pub fn mixed(&self, subjects: Subjects) -> Call {
        let (target, accounts) = (self.clone(), self.bearers.len() as u64);
        Arc::new(move |n| {
            let kind = match n % 10 {
                0..6 => Kind::React,
                6 | 7 => Kind::CreatePost,
                _ => Kind::SendMessage,
            };
            let target = target.clone();
            async move { target.command(kind, subjects, n, n % accounts).await }.boxed()
        })
    }

    async fn command(&self, kind: Kind, subjects: Subjects, n: u64, account: u64) -> Result<String, Status> {
        let request_id = format!("{}-{n}", self.run);
        let accounts = self.bearers.len() as u64;
        match kind {
            Kind::React => {
                // No account reacts to a post twice until all have to all; to one post each call is another kind.
                let (post, kind) = match subjects {
                    Subjects::Uniform(posts) => ((n / accounts + account) % posts, n / accounts / posts),
                    Subjects::One(post) => (post, n / accounts),
                };
                let (subject, kind) = (Some(world::subject(post)), world::kind(kind).into());
                let message = ReactRequest { subject, kind, request_id, at_least: Vec::new() };
                let answer =
                    ReactionServiceClient::new(self.connection()).react(self.request(account, message)).await?;
                Ok(answer.into_inner().consistency_token)
            }
            Kind::CreatePost => {
                let (text, languages) = (TEXT.to_owned(), vec!["en".to_owned()]);
                let message = CreatePostRequest { text, languages, request_id, at_least: Vec::new() };
                Ok(self.create_post(account, message).await?.consistency_token)
            }
            Kind::SendMessage => {
                let (conversation_id, text) = (world::text_id(Thing::Conversation, account), TEXT.to_owned());
                let message = SendMessageRequest { conversation_id, text, request_id, at_least: Vec::new() };
                let request = self.request(account, message);
                let answer = MessageServiceClient::new(self.connection()).send_message(request).await?;
                Ok(answer.into_inner().consistency_token)
            }
        }
    }

    /// First pages of fifty of the readers' home feeds, one reader after the other.
    pub fn pages(&self, readers: u64) -> Call {
        let target = self.clone();
        Arc::new(move |n| {
            let target = target.clone();
            async move { target.page(n % readers, Vec::new()).await.map(|page| page.as_of) }.boxed()
        })
    }

    /// The first page of fifty of a reader's home feed.
    pub async fn page(&self, reader: u64, at_least: Vec<String>) -> Result<GetHomeFeedResponse, Status> {
        let message = GetHomeFeedRequest { include_shares: true, page_size: 50, page_token: String::new(), at_least };
        let answer = FeedServiceClient::new(self.connection()).get_home_feed(self.request(reader, message)).await?;
        Ok(answer.into_inner())
    }

    pub async fn create_post(&self, author: u64, message: CreatePostRequest) -> Result<CreatePostResponse, Status> {
        let answer = PostServiceClient::new(self.connection()).create_post(self.request(author, message)).await?;
        Ok(answer.into_inner())
    }

    /// How often and how a post was reacted to.
    pub async fn counts(&self, post: u64, at_least: Vec<String>) -> Result<BatchGetCountsResponse, Status> {
        let message = BatchGetCountsRequest { subjects: vec![world::subject(post)], at_least };
        let answer = EngagementServiceClient::new(self.connection()).batch_get_counts(self.request(0, message)).await?;
        Ok(answer.into_inner())
    }

    /// Waits until a home feed that is read would have what `token` names.
    pub async fn shown(&self, reader: u64, token: String) -> Result<(), Status> {
        let wait = WaitForRequest { at_least: vec![token] };
        FeedServiceClient::new(self.connection()).wait_for(self.request(reader, wait)).await?;
        Ok(())
    }

    /// Waits until everything that `token` names is in the tables of every service that folds it.
    pub async fn folded(&self, token: &Token) -> Result<()> {
        let started = Instant::now();
        // A call waits no longer than its deadline.
        while let Err(status) = self.folded_within_a_call(token).await {
            ensure!(status.code() == Code::Unavailable && started.elapsed() < FOLDED_WITHIN, "{status}");
        }
        Ok(())
    }

    async fn folded_within_a_call(&self, token: &Token) -> Result<(), Status> {
        let at_least = vec![token.encode()];
        let wait = WaitForRequest { at_least: at_least.clone() };
        FeedServiceClient::new(self.connection()).wait_for(self.request(0, wait)).await?;
        let posts = BatchGetPostsRequest { post_ids: Vec::new(), at_least: at_least.clone() };
        PostServiceClient::new(self.connection()).batch_get_posts(self.request(0, posts)).await?;
        let unread = GetUnreadCountsRequest { conversation_ids: Vec::new(), at_least: at_least.clone() };
        MessageServiceClient::new(self.connection()).get_unread_counts(self.request(0, unread)).await?;
        self.counts(0, at_least).await?;
        Ok(())
    }

    /// Waits until a bare server has written all its rows. It takes all that it is sent, and may need longer for them than
    /// one call may take.
    pub async fn drained(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let wait = WaitForRequest { at_least: Vec::new() };
            match FeedServiceClient::new(self.connection()).wait_for(self.request(0, wait)).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::Cancelled && started.elapsed() < FOLDED_WITHIN => {}
                Err(status) => return Err(status.into()),
            }
        }
    }
}
