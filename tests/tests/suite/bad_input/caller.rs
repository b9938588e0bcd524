//! Callers of a running suite, and what they are answered.

use std::collections::BTreeMap;
use std::ops::Deref;

use bytes::{Buf, BufMut, Bytes};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kith_log::RecordId;
use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::engagement_service_client::EngagementServiceClient;
use kith_proto::engagement::v1::reaction_service_client::ReactionServiceClient;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_runtime::Runtime;
use kith_service::auth::{SessionRef, TokenIssuer};
use kith_service::keys::KeyFolder;
use kith_tests::suite::Suite;
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use super::rules;
use crate::embedded;

const PASSWORD: &str = "correct horse";

/// An embedded suite.
pub struct World {
    suite: Suite,
    channel: Channel,
}

#[derive(Clone)]
pub struct Account {
    pub account_id: String,
    pub bearer: String,
    /// Of the last thing the account did.
    pub token: String,
}

/// Somebody with a way to call.
#[derive(Clone)]
pub struct Caller {
    account: Account,
    channel: Channel,
    /// As a gateway passes it on.
    on_behalf_of: Option<String>,
}

impl Deref for Caller {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

/// What a call was answered with.
pub struct Answer<T>(Result<Response<T>, Status>);

impl<T> Answer<T> {
    pub fn ok(self) -> T {
        self.0.unwrap().into_inner()
    }

    /// It was refused so; `field`: the one that a violation names.
    #[track_caller]
    pub fn is(self, code: Code, reason: &str, field: Option<&str>) {
        if let Some(otherwise) = self.otherwise(code, reason, field) {
            panic!("{otherwise}");
        }
    }

    /// How it was answered, if it was not refused so.
    pub fn otherwise(self, code: Code, reason: &str, field: Option<&str>) -> Option<String> {
        let Err(status) = self.0 else { return Some("it was not refused".to_owned()) };
        let info = status.get_details_error_info().map(|info| (info.domain, info.reason));
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        let is_so = (status.code(), info) == (code, Some(("kith".into(), reason.into())));
        let is_of = fields == Vec::from_iter(field);
        (!is_so || !is_of).then(|| format!("not {code:?} {reason} {field:?} but {status:?}, fields {fields:?}"))
    }

    /// The code, OK where it was not refused.
    pub fn code(&self) -> Code {
        self.0.as_ref().err().map_or(Code::Ok, Status::code)
    }
}

impl World {
    pub async fn start() -> Self {
        let suite = Suite::embedded(10_000).await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", suite.addresses())).unwrap().connect_lazy();
        Self { suite, channel }
    }

    /// The process is killed, and comes back.
    pub async fn crash(&mut self) {
        let process = self.suite.process("suite").unwrap();
        process.kill_9().unwrap();
        process.restart().await.unwrap();
    }

    /// Somebody without a token.
    pub fn anyone(&self) -> Caller {
        let account = Account { account_id: String::new(), bearer: String::new(), token: String::new() };
        Caller { account, channel: self.channel.clone(), on_behalf_of: None }
    }

    pub fn sign_in(&self, account: &Account) -> Caller {
        Caller { account: account.clone(), channel: self.channel.clone(), on_behalf_of: None }
    }

    /// Asks for a post as somebody who waits 1 ms for it. Not through tonic's channel, which would give up by itself
    /// when the time is over, at times before the refusal is there.
    pub async fn in_a_hurry(&self, caller: &Caller, get: posts::GetPostRequest) -> Answer<posts::GetPostResponse> {
        let address = self.suite.addresses();
        let stream = TcpStream::connect(&address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let channel = tower::service_fn(move |request| sender.clone().send_request(request));
        let mut request = caller.request(get);
        request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("1m"));
        let origin = format!("http://{address}").parse().unwrap();
        let mut client = PostServiceClient::with_origin(channel, origin);
        let answered = async move { Answer(client.get_post(request).await) };
        let (answer, ended) = tokio::join!(answered, connection);
        ended.unwrap();
        answer
    }

    pub async fn accounts<const N: usize>(&self, handles: [&str; N]) -> [Account; N] {
        let anyone = self.anyone();
        let mut accounts = Vec::new();
        for handle in handles {
            let (handle, password) = (handle.to_owned(), PASSWORD.to_owned());
            let create = identity::CreateAccountRequest {
                handle: handle.clone(),
                password: password.clone(),
                ..Default::default()
            };
            let token = anyone.create_account(create).await.ok().consistency_token;
            let create = identity::CreateSessionRequest {
                handle,
                password,
                at_least: vec![token.clone()],
                ..Default::default()
            };
            let session = anyone.create_session(create).await.ok();
            accounts.push(Account { account_id: session.account_id, bearer: session.access_token, token });
        }
        accounts.try_into().ok().unwrap()
    }

    pub async fn post(&self, author: &Account, text: &str) -> String {
        let author = self.sign_in(author);
        let created =
            author.create_post(posts::CreatePostRequest { text: text.into(), ..Default::default() }).await.ok();
        author.see(&created.consistency_token).await;
        created.post.unwrap().post_id
    }

    pub async fn delete(&self, author: &Account, post_id: &str) {
        let author = self.sign_in(author);
        let delete = posts::DeletePostRequest { post_id: post_id.into(), ..Default::default() };
        author.see(&author.delete_post(delete).await.ok().consistency_token).await;
    }

    pub async fn follow(&self, who: &Account, whom: &Account) {
        let who = self.sign_in(who);
        let (target_id, at_least) = (whom.account_id.clone(), vec![whom.token.clone()]);
        let follow = identity::FollowRequest { target_id, at_least, ..Default::default() };
        who.see(&who.follow(follow).await.ok().consistency_token).await;
    }

    /// Makes the account private, or public.
    pub async fn set_private(&self, who: &Account, private: bool) {
        let who = self.sign_in(who);
        let profile = Some(identity::Profile { private, ..Default::default() });
        let updated = who.update_profile(identity::UpdateProfileRequest { profile, ..Default::default() }).await.ok();
        assert_eq!(updated.account.unwrap().profile.unwrap().private, private);
        who.see(&updated.consistency_token).await;
    }

    pub async fn block(&self, who: &Account, whom: &Account) {
        let who = self.sign_in(who);
        let block = identity::BlockRequest { target_id: whom.account_id.clone(), ..Default::default() };
        who.see(&who.block(block).await.ok().consistency_token).await;
    }

    pub async fn talk(&self, one: &Account, other: &Account) -> String {
        let one = self.sign_in(one);
        let (account_id, at_least) = (other.account_id.clone(), vec![one.token.clone(), other.token.clone()]);
        let open = messaging::GetOrCreateDirectRequest { account_id, at_least, ..Default::default() };
        let opened = one.direct(open).await.ok();
        one.see(&opened.consistency_token).await;
        opened.conversation.unwrap().conversation_id
    }

    fn keys(&self) -> KeyFolder {
        KeyFolder::at(self.suite.processes["suite"].folder().join(".kith/keys"))
    }

    /// A token of this suite as it would have been made in another time.
    pub fn token_at(&self, account_id: &str, runtime: Runtime) -> String {
        issue(&self.keys(), account_id, runtime)
    }

    pub fn token_of_another_suite(account_id: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&Runtime::system()).unwrap();
        issue(&keys, account_id, Runtime::system())
    }

    /// How long every log is. Stops the suite for that, and starts it again.
    pub async fn heads(&mut self) -> BTreeMap<&'static str, Vec<u64>> {
        embedded::stop(&mut self.suite).await;
        let heads = embedded::heads(&mut self.suite).await;
        self.suite.process("suite").unwrap().restart().await.unwrap();
        heads
    }
}

fn issue(keys: &KeyFolder, account_id: &str, runtime: Runtime) -> String {
    let session = SessionRef { id: RecordId([3; 16]), made_at: 0 };
    let issuer = TokenIssuer::new(keys.signing_key().unwrap(), runtime);
    issuer.issue(RecordId::parse(account_id).unwrap(), session).unwrap().text
}

macro_rules! calls {
    ($($name:ident: $client:ident.$method:ident($request:ty) -> $response:ty;)*) => {
        impl Caller {
            $(pub async fn $name(&self, message: $request) -> Answer<$response> {
                Answer($client::new(self.channel.clone()).$method(self.request(message)).await)
            })*
        }
    };
}

calls! {
    create_account: AccountServiceClient.create_account(identity::CreateAccountRequest) -> identity::CreateAccountResponse;
    get_account: AccountServiceClient.get_account(identity::GetAccountRequest) -> identity::GetAccountResponse;
    resolve_handle: AccountServiceClient.resolve_handle(identity::ResolveHandleRequest) -> identity::ResolveHandleResponse;
    create_session: SessionServiceClient.create_session(identity::CreateSessionRequest) -> identity::CreateSessionResponse;
    follow: GraphServiceClient.follow(identity::FollowRequest) -> identity::FollowResponse;
    unfollow: GraphServiceClient.unfollow(identity::UnfollowRequest) -> identity::UnfollowResponse;
    accept_follow: GraphServiceClient.accept_follow(identity::AcceptFollowRequest) -> identity::AcceptFollowResponse;
    reject_follow: GraphServiceClient.reject_follow(identity::RejectFollowRequest) -> identity::RejectFollowResponse;
    follow_requests: GraphServiceClient.list_follow_requests(identity::ListFollowRequestsRequest) -> identity::ListFollowRequestsResponse;
    update_profile: AccountServiceClient.update_profile(identity::UpdateProfileRequest) -> identity::UpdateProfileResponse;
    get_post: PostServiceClient.get_post(posts::GetPostRequest) -> posts::GetPostResponse;
    block: GraphServiceClient.block(identity::BlockRequest) -> identity::BlockResponse;
    home: FeedServiceClient.get_home_feed(feeds::GetHomeFeedRequest) -> feeds::GetHomeFeedResponse;
    mute: GraphServiceClient.mute(identity::MuteRequest) -> identity::MuteResponse;
    mutes: GraphServiceClient.list_mutes(identity::ListMutesRequest) -> identity::ListMutesResponse;
    remove_follower: GraphServiceClient.remove_follower(identity::RemoveFollowerRequest) -> identity::RemoveFollowerResponse;
    relationships: GraphServiceClient.batch_get_relationships(identity::BatchGetRelationshipsRequest) -> identity::BatchGetRelationshipsResponse;
    create_post: PostServiceClient.create_post(posts::CreatePostRequest) -> posts::CreatePostResponse;
    batch_get_posts: PostServiceClient.batch_get_posts(posts::BatchGetPostsRequest) -> posts::BatchGetPostsResponse;
    delete_post: PostServiceClient.delete_post(posts::DeletePostRequest) -> posts::DeletePostResponse;
    react: ReactionServiceClient.react(engagement::ReactRequest) -> engagement::ReactResponse;
    counts: EngagementServiceClient.batch_get_counts(engagement::BatchGetCountsRequest) -> engagement::BatchGetCountsResponse;
    direct: ConversationServiceClient.get_or_create_direct(messaging::GetOrCreateDirectRequest) -> messaging::GetOrCreateDirectResponse;
    conversations: ConversationServiceClient.list_conversations(messaging::ListConversationsRequest) -> messaging::ListConversationsResponse;
    accept: ConversationServiceClient.accept_conversation(messaging::AcceptConversationRequest) -> messaging::AcceptConversationResponse;
    decline: ConversationServiceClient.decline_conversation(messaging::DeclineConversationRequest) -> messaging::DeclineConversationResponse;
    set_policy: ConversationServiceClient.set_messaging_policy(messaging::SetMessagingPolicyRequest) -> messaging::SetMessagingPolicyResponse;
    availability: ConversationServiceClient.get_availability(messaging::GetAvailabilityRequest) -> messaging::GetAvailabilityResponse;
    create_group: ConversationServiceClient.create_group(messaging::CreateGroupRequest) -> messaging::CreateGroupResponse;
    add_members: ConversationServiceClient.add_members(messaging::AddMembersRequest) -> messaging::AddMembersResponse;
    remove_member: ConversationServiceClient.remove_member(messaging::RemoveMemberRequest) -> messaging::RemoveMemberResponse;
    set_role: ConversationServiceClient.set_role(messaging::SetRoleRequest) -> messaging::SetRoleResponse;
    leave: ConversationServiceClient.leave_conversation(messaging::LeaveConversationRequest) -> messaging::LeaveConversationResponse;
    members: ConversationServiceClient.list_members(messaging::ListMembersRequest) -> messaging::ListMembersResponse;
    messages: MessageServiceClient.list_messages(messaging::ListMessagesRequest) -> messaging::ListMessagesResponse;
    unread: MessageServiceClient.get_unread_counts(messaging::GetUnreadCountsRequest) -> messaging::GetUnreadCountsResponse;
    send_message: MessageServiceClient.send_message(messaging::SendMessageRequest) -> messaging::SendMessageResponse;
    edit_message: MessageServiceClient.edit_message(messaging::EditMessageRequest) -> messaging::EditMessageResponse;
    unsend_message: MessageServiceClient.unsend_message(messaging::UnsendMessageRequest) -> messaging::UnsendMessageResponse;
    react_to_message: MessageServiceClient.react_to_message(messaging::ReactToMessageRequest) -> messaging::ReactToMessageResponse;
    mute_talk: ConversationServiceClient.mute_conversation(messaging::MuteConversationRequest) -> messaging::MuteConversationResponse;
    archive: ConversationServiceClient.archive_conversation(messaging::ArchiveConversationRequest) -> messaging::ArchiveConversationResponse;
    followers: GraphServiceClient.list_followers(identity::ListFollowersRequest) -> identity::ListFollowersResponse;
    author_feed: FeedServiceClient.get_author_feed(feeds::GetAuthorFeedRequest) -> feeds::GetAuthorFeedResponse;
}

impl Caller {
    pub fn with_bearer(&self, bearer: &str) -> Self {
        let account = Account { bearer: bearer.to_owned(), ..self.account.clone() };
        Self { account, ..self.clone() }
    }

    pub fn on_behalf_of(&self, account_id: &str) -> Self {
        Self { on_behalf_of: Some(account_id.to_owned()), ..self.clone() }
    }

    /// Calls `method`, by its service's full name and its own, with these bytes as its message. Of a stream the first answer.
    pub async fn raw(&self, method: &str, bytes: &[u8]) -> Answer<Bytes> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let path: PathAndQuery = format!("/{method}").parse().unwrap();
        let request = self.request(Bytes::copy_from_slice(bytes));
        if !rules::is_streaming(method) {
            return Answer(client.unary(request, path, Raw).await);
        }
        match client.server_streaming(request, path, Raw).await {
            Ok(answers) => Answer(answers.into_inner().message().await.map(|first| Response::new(first.unwrap()))),
            Err(status) => Answer(Err(status)),
        }
    }

    /// Has every service see what the token names, in a query of its own.
    async fn see(&self, token: &str) {
        let at_least = || vec![token.to_owned()];
        self.batch_get_posts(posts::BatchGetPostsRequest { at_least: at_least(), ..Default::default() }).await.ok();
        self.counts(engagement::BatchGetCountsRequest { at_least: at_least(), ..Default::default() }).await.ok();
        self.conversations(messaging::ListConversationsRequest { at_least: at_least(), ..Default::default() })
            .await
            .ok();
        let account_id = self.account_id.clone();
        self.get_account(identity::GetAccountRequest { account_id: account_id.clone(), at_least: at_least() })
            .await
            .ok();
        self.author_feed(feeds::GetAuthorFeedRequest { account_id, at_least: at_least(), ..Default::default() })
            .await
            .ok();
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.bearer.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {}", self.bearer).parse().unwrap());
        }
        if let Some(account_id) = &self.on_behalf_of {
            request.metadata_mut().insert("kith-on-behalf-of", account_id.parse().unwrap());
        }
        request
    }
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
