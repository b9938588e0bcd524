//! The client: a few connections to one address, and calls of each kind by number.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, future};
use kith_fold::Token;
use kith_proto::engagement::v1::{BatchGetCountsRequest, BatchGetCountsResponse, ReactRequest, ReactResponse};
use kith_proto::feeds::v1::{GetHomeFeedRequest, GetHomeFeedResponse, WaitForRequest, WaitForResponse};
use kith_proto::identity::v1::{BatchGetRelationshipsRequest, BatchGetRelationshipsResponse};
use kith_proto::messaging::v1::{
    GetUnreadCountsRequest, GetUnreadCountsResponse, SendMessageRequest, SendMessageResponse,
};
use kith_proto::posts::v1::{BatchGetPostsRequest, BatchGetPostsResponse, CreatePostRequest, CreatePostResponse};
use kith_runtime::Runtime;
use kith_service::auth::{SessionRef, TokenIssuer};
use kith_service::keys::KeyFolder;
use prost::Message;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::line::{Connection, Line};
use crate::load::Call;
use crate::template::Kind;
use crate::tokens;
use crate::world::{self, TEXT, Thing};

/// A connection may have 256 calls open.
const CONNECTIONS: usize = 4;
const WIDE_CONNECTIONS: usize = 20;
const REACT: &str = "/kith.engagement.v1.ReactionService/React";
const BATCH_GET_COUNTS: &str = "/kith.engagement.v1.EngagementService/BatchGetCounts";
const CREATE_POST: &str = "/kith.posts.v1.PostService/CreatePost";
const BATCH_GET_POSTS: &str = "/kith.posts.v1.PostService/BatchGetPosts";
const SEND_MESSAGE: &str = "/kith.messaging.v1.MessageService/SendMessage";
const GET_UNREAD_COUNTS: &str = "/kith.messaging.v1.MessageService/GetUnreadCounts";
const GET_HOME_FEED: &str = "/kith.feeds.v1.FeedService/GetHomeFeed";
const BATCH_GET_RELATIONSHIPS: &str = "/kith.identity.v1.GraphService/BatchGetRelationships";
const WAIT_FOR: &str = "/kith.feeds.v1.FeedService/WaitFor";
const DEADLINE: Duration = Duration::from_secs(25);
const FOLDED_WITHIN: Duration = Duration::from_secs(300);

/// Who may call: a bearer token an account.
pub type Bearers = Arc<Vec<MetadataValue<Ascii>>>;

/// Signs tokens of accounts `0..count` with the key in the folder; makes it where it is missing.
pub fn bearers(keys: &Path, count: u64) -> Result<Bearers> {
    let (folder, runtime) = (KeyFolder::at(keys), Runtime::system());
    folder.create_missing(&runtime)?;
    tokens::put_key(keys)?;
    let issuer = TokenIssuer::new(folder.signing_key()?, runtime);
    let bearer = |n| {
        let token = issuer
            .issue(world::id(Thing::Account, n), SessionRef { id: world::id(Thing::Account, n), made_at: 0 })
            .ok()
            .context("a token")?;
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

    /// The same over new connections: the suite asks one to close when it is five minutes old, and then calls that tonic's
    /// channel has not sent yet fail as CANCELLED.
    pub fn anew(&self) -> Result<Self> {
        Self::new(self.address, Arc::clone(&self.bearers), &self.run)
    }

    /// The same for the first so many accounts.
    pub fn among(&self, accounts: usize) -> Self {
        let bearers = Arc::new(self.bearers.iter().take(accounts).cloned().collect());
        Self { bearers, ..self.clone() }
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
    /// Calls the method at `path` as an account, over the next connection.
    async fn call<Q, A>(&self, path: &'static str, account: u64, message: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(message);
        let bearer = self.bearers[account as usize % self.bearers.len()].clone();
        request.metadata_mut().insert("authorization", bearer);
        let connection = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[connection].call(path, request).await
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
                let answer: ReactResponse = self.call(REACT, account, message).await?;
                Ok(answer.consistency_token)
            }
            Kind::CreatePost => {
                let (text, languages) = (TEXT.to_owned(), vec!["en".to_owned()]);
                let message = CreatePostRequest { text, languages, request_id, at_least: Vec::new() };
                Ok(self.create_post(account, message).await?.consistency_token)
            }
            Kind::SendMessage => {
                let (conversation_id, text) = (world::text_id(Thing::Conversation, account), TEXT.to_owned());
                let message = SendMessageRequest { conversation_id, text, request_id, ..SendMessageRequest::default() };
                let answer: SendMessageResponse = self.call(SEND_MESSAGE, account, message).await?;
                Ok(answer.consistency_token)
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
        self.call(GET_HOME_FEED, reader, message).await
    }

    /// What each account and the hundred after it are to each other, one account after the other.
    pub fn relationships(&self, accounts: u64) -> Call {
        let target = self.clone();
        Arc::new(move |n| {
            let target = target.clone();
            async move { target.relationship(n % accounts).await.map(|told| told.as_of) }.boxed()
        })
    }

    /// What an account and the hundred after it are to each other.
    pub async fn relationship(&self, account: u64) -> Result<BatchGetRelationshipsResponse, Status> {
        let others = (1..=100).map(|step| world::text_id(Thing::Account, (account + step) % world::ACCOUNTS));
        let message = BatchGetRelationshipsRequest { target_ids: others.collect(), at_least: Vec::new() };
        self.call(BATCH_GET_RELATIONSHIPS, account, message).await
    }

    pub async fn create_post(&self, author: u64, message: CreatePostRequest) -> Result<CreatePostResponse, Status> {
        self.call(CREATE_POST, author, message).await
    }

    /// How often and how a post was reacted to.
    pub async fn counts(&self, post: u64, at_least: Vec<String>) -> Result<BatchGetCountsResponse, Status> {
        let message = BatchGetCountsRequest { subjects: vec![world::subject(post)], at_least };
        self.call(BATCH_GET_COUNTS, 0, message).await
    }

    /// Waits until a home feed that is read would have what `token` names.
    pub async fn shown(&self, reader: u64, token: String) -> Result<(), Status> {
        let _: WaitForResponse = self.call(WAIT_FOR, reader, WaitForRequest { at_least: vec![token] }).await?;
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
        let at_least = vec![tokens::seal(token).map_err(|error| Status::internal(error.to_string()))?];
        let _: WaitForResponse = self.call(WAIT_FOR, 0, WaitForRequest { at_least: at_least.clone() }).await?;
        let posts = BatchGetPostsRequest { post_ids: Vec::new(), at_least: at_least.clone() };
        let _: BatchGetPostsResponse = self.call(BATCH_GET_POSTS, 0, posts).await?;
        let unread = GetUnreadCountsRequest { conversation_ids: Vec::new(), at_least: at_least.clone() };
        let _: GetUnreadCountsResponse = self.call(GET_UNREAD_COUNTS, 0, unread).await?;
        self.counts(0, at_least).await?;
        Ok(())
    }

    /// Waits until a bare server has written all its rows. It takes all that it is sent, and may need longer for them than
    /// one call may take.
    pub async fn drained(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let waited: Result<WaitForResponse, _> = self.call(WAIT_FOR, 0, WaitForRequest::default()).await;
            match waited {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::Cancelled && started.elapsed() < FOLDED_WITHIN => {}
                Err(status) => return Err(status.into()),
            }
        }
    }
}
