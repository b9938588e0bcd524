//! `kith.posts.v1.PostService`.

use std::sync::Arc;

use bytes::Bytes;
use kith_fold::{Noun, State, Token, WaitError};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::posts::private::v1::EditRequested;
use kith_proto::posts::private::v1::post_private_event::Event as PrivateEvent;
use kith_proto::posts::v1::post_service_server::{PostService, PostServiceServer};
use kith_proto::posts::v1::*;
use kith_proto::time;
use kith_service::auth::caller;
use kith_service::deadline::{Deadline, deadline};
use kith_service::ids::{self, RequestId};
use kith_service::kit::{Asked, Command, Kit, Seen};
use kith_service::{Failure, limited, limits};
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status};

use crate::arbiter::{self, EditState};
use crate::post::{self, PostRow, Posts, Rejection};
use crate::{content, read};

const CREATE_POST: &str = "kith.posts.v1.PostService/CreatePost";
const EDIT_POST: &str = "kith.posts.v1.PostService/EditPost";
const DELETE_POST: &str = "kith.posts.v1.PostService/DeletePost";

/// The handlers; cheap to clone.
#[derive(Clone)]
pub struct PostsService {
    kit: Arc<Kit>,
}

/// Who asks, and how long there is.
#[derive(Clone, Copy)]
struct Call {
    caller: RecordId,
    deadline: Deadline,
}

impl Call {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Ok(Self { caller: caller(request)?.account_id, deadline: deadline(request) })
    }
}

#[tonic::async_trait]
impl PostService for PostsService {
    async fn create_post(&self, request: Request<CreatePostRequest>) -> Result<Response<CreatePostResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.create(call, request.into_inner()).await?))
    }

    async fn edit_post(&self, request: Request<EditPostRequest>) -> Result<Response<EditPostResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.edit(call, request.into_inner()).await?))
    }

    async fn get_post(&self, request: Request<GetPostRequest>) -> Result<Response<GetPostResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.get(call, request.into_inner()).await?))
    }

    async fn batch_get_posts(
        &self,
        request: Request<BatchGetPostsRequest>,
    ) -> Result<Response<BatchGetPostsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.batch_get(call, request.into_inner()).await?))
    }

    async fn delete_post(&self, request: Request<DeletePostRequest>) -> Result<Response<DeletePostResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.delete(call, request.into_inner()).await?))
    }
}

impl PostsService {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }

    /// Adds the gRPC service.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        routes.add_service(limited!(PostServiceServer::new(self.clone())));
    }

    async fn create(&self, call: Call, request: CreatePostRequest) -> Result<CreatePostResponse, Failure> {
        let text = content::parse_text(&request.text)?;
        let languages = content::parse_languages(request.languages)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, CREATE_POST, &request_id);
        let digest = ids::payload_digest(&[text.as_bytes(), languages.join(",").as_bytes()]);
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let content = content::compose(&seen.state, call.caller, text, languages).await?;
        let mut created = PostCreated {
            post_id: id.to_string(),
            author_id: call.caller.to_string(),
            content: Some(content),
            create_time: Some(time::timestamp(self.kit.runtime.now_ms())),
            payload_digest: Bytes::copy_from_slice(&digest),
        };
        let key = id.to_string();
        let look = || async {
            let known = post::post(&seen.state, id).await?;
            let place = known.as_ref().map(|found| post::position(&seen.state, id, found));
            let state = known.map(|found| found.row);
            Ok((Posts::decide(&state, &post::Command::Create(created.clone()))?, (state, place)))
        };
        let asked = Asked { topic: topics::POSTS, key: &key, id, digest };
        let (event, (state, place)) = seen.decide(asked, call.deadline, look).await?;
        let (row, position) = match (event, state, place) {
            (None, Some(post), Some(place)) if !post.deleted => (post, place),
            (None, Some(post), Some(place)) => {
                // It was made, and has gone since: the answer is what it was then.
                created.create_time = Some(time::timestamp(post.create_time.0));
                (PostRow::created(&created), place)
            }
            (Some(event), ..) => (PostRow::created(&created), append(&seen, id, id, event, call.deadline).await?),
            (None, ..) => return Err(Failure::internal()),
        };
        let post = Some(row.present(&id.to_string()));
        Ok(CreatePostResponse { post, consistency_token: Token::from(position).encode() })
    }

    async fn get(&self, call: Call, request: GetPostRequest) -> Result<GetPostResponse, Failure> {
        let post_id = ids::parse_id("post_id", &request.post_id)?;
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let found = read::row(&seen.state, call.caller, post_id).await?;
        let post = found.map(|found| found.row).filter(|row| !row.deleted).ok_or(Rejection::NotFound)?;
        Ok(GetPostResponse { post: Some(post.present(&request.post_id)), as_of })
    }

    async fn batch_get(&self, call: Call, request: BatchGetPostsRequest) -> Result<BatchGetPostsResponse, Failure> {
        if request.post_ids.len() > limits::BATCH_ITEMS {
            return Err(Failure::batch_too_long("post_ids", request.post_ids.len()));
        }
        let parse = |(at, id): (usize, &String)| ids::parse_id(&format!("post_ids[{at}]"), id);
        let post_ids: Vec<RecordId> = request.post_ids.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let rows = read::rows(&seen.state, call.caller, &post_ids).await?;
        let entries = request.post_ids.into_iter().zip(rows).map(|(post_id, found)| {
            let row = found.map(|found| found.row).filter(|row| !row.deleted);
            PostEntry { post: row.map(|row| row.present(&post_id)), post_id }
        });
        Ok(BatchGetPostsResponse { entries: entries.collect(), as_of })
    }

    async fn delete(&self, call: Call, request: DeletePostRequest) -> Result<DeletePostResponse, Failure> {
        let post_id = ids::parse_id("post_id", &request.post_id)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, DELETE_POST, &request_id);
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let delete_time_ms = self.kit.runtime.now_ms();
        let command = post::Command::Delete { post_id, actor_id: call.caller.to_string(), delete_time_ms };
        let look = || async {
            let found = read::row(&seen.state, call.caller, post_id).await?;
            let place = found.as_ref().map(|found| post::position(&seen.state, post_id, found));
            let state = found.map(|found| found.row);
            Ok((Posts::decide(&state, &command)?, (state, place)))
        };
        let digest = ids::payload_digest(&[&post_id.0]);
        let asked = Asked { topic: topics::POSTS, key: &request.post_id, id, digest };
        let (event, (state, place)) = seen.decide(asked, call.deadline, look).await?;
        let (delete_time_ms, position) = match (event, state, place) {
            (Some(event), ..) => (delete_time_ms, append(&seen, post_id, id, event, call.deadline).await?),
            (None, Some(post), Some(place)) => (post.delete_time.0, place),
            (None, ..) => return Err(Failure::internal()),
        };
        Ok(DeletePostResponse {
            post_id: request.post_id,
            delete_time: Some(time::timestamp(delete_time_ms)),
            consistency_token: Token::from(position).encode(),
        })
    }

    async fn edit(&self, call: Call, request: EditPostRequest) -> Result<EditPostResponse, Failure> {
        let post_id = ids::parse_id("post_id", &request.post_id)?;
        let text = content::parse_text(&request.text)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, EDIT_POST, &request_id);
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let edit = Edit { post_id, id, text, expected_revision: request.expected_revision };
        let intent = self.intent(&seen, call, edit).await?;
        settled(&seen.state, post_id, intent, id, call.deadline).await
    }

    /// Puts the intent into the log, unless it is there already; gives its place.
    async fn intent(&self, seen: &Seen<'_>, call: Call, edit: Edit) -> Result<Position, Failure> {
        let state = &seen.state;
        let Edit { post_id, id, text, expected_revision } = edit;
        let digest = ids::payload_digest(&[&post_id.0, text.as_bytes(), &expected_revision.to_be_bytes()]);
        let found = read::row(state, call.caller, post_id).await?;
        let claim = arbiter::claim(state, post_id, id).await?;
        let revision = arbiter::current_revision(state, post_id).await?;
        let post = found.as_ref().map(|found| &found.row);
        let languages = post.map(PostRow::languages).unwrap_or_default();
        let asked = EditRequested {
            post_id: post_id.to_string(),
            author_id: call.caller.to_string(),
            expected_revision,
            content: Some(content::compose(state, call.caller, text, languages).await?),
            post_create_time: post.map(|post| time::timestamp(post.create_time.0)),
            request_time: Some(time::timestamp(self.kit.runtime.now_ms())),
            payload_digest: Bytes::copy_from_slice(&digest),
        };
        let edits = EditState { post, claim: claim.as_ref().map(|claim| &claim.row), revision };
        let decided = arbiter::decide(&edits, asked);
        if let Err(Rejection::RevisionStale { current }) = decided {
            // If it takes too long he is told all the same.
            let _ = reached(state, post_id, current, call.deadline).await;
        }
        let event = decided?;
        seen.remember(id, digest)?;
        match (event, claim) {
            (None, Some(claim)) => Ok(private_position(state, post_id, claim.position)),
            (None, None) => Err(Failure::internal()),
            (Some(intent), _) => {
                let event = Event::PostsPrivate(PrivateEvent::EditRequested(intent));
                let key = post_id.to_string();
                let command = Command { topic: topics::POSTS_PRIVATE, key: &key, id, event };
                seen.append(command, call.deadline).await
            }
        }
    }
}

/// Waits for the verdict on the intent, and for what follows from it.
async fn settled(
    state: &State,
    post_id: RecordId,
    intent: Position,
    id: RecordId,
    deadline: Deadline,
) -> Result<EditPostResponse, Failure> {
    state.at_least(&Token::from(intent), deadline.at()).await.map_err(unknown_for_now)?;
    let claim = arbiter::claim(state, post_id, id).await?.ok_or_else(Failure::internal)?;
    let revision = arbiter::revision(claim.row.revision);
    let reached = reached(state, post_id, revision, deadline).await;
    if !claim.row.won {
        return Err(Rejection::RevisionStale { current: revision }.into());
    }
    let (post, place) = reached?;
    if post.deleted {
        return Err(Rejection::NotFound.into());
    }
    let token: Token = [private_position(state, post_id, claim.position), place].into_iter().collect();
    Ok(EditPostResponse { post: Some(post.present(&post_id.to_string())), consistency_token: token.encode() })
}

/// Waits until the post is at `revision` or deleted: the fact of the edit that made it so is folded. A loser waits
/// too, so that who reads again finds what beat him.
async fn reached(
    state: &State,
    post_id: RecordId,
    revision: u32,
    deadline: Deadline,
) -> Result<(PostRow, Position), Failure> {
    let key = post_id.to_string();
    let look = || async {
        let found = post::post(state, post_id).await?;
        Ok(found.filter(|found| found.row.deleted || found.row.revision >= i64::from(revision)))
    };
    let found = state.until((topics::POSTS, &key), deadline.at(), look).await.map_err(unknown_for_now)?;
    let place = post::position(state, post_id, &found);
    Ok((found.row, place))
}

async fn append(
    seen: &Seen<'_>,
    post_id: RecordId,
    id: RecordId,
    event: post_event::Event,
    deadline: Deadline,
) -> Result<Position, Failure> {
    let key = post_id.to_string();
    let command = Command { topic: topics::POSTS, key: &key, id, event: Event::Posts(event) };
    seen.append(command, deadline).await
}

fn private_position(state: &State, post_id: RecordId, offset: u64) -> Position {
    let count = state.partition_count();
    let partition = LogPartition::of_key(topics::POSTS_PRIVATE, &post_id.to_string(), count);
    Position { partition, offset }
}

/// An edit as asked for.
struct Edit {
    post_id: RecordId,
    /// Of the intent.
    id: RecordId,
    text: String,
    expected_revision: u32,
}

/// The intent is in the log: only its verdict is not known yet.
fn unknown_for_now(error: WaitError) -> Failure {
    match error {
        WaitError::Behind { .. } => Failure::outcome_unknown(),
        WaitError::Stopped { .. } | WaitError::Store(_) => error.into(),
    }
}
