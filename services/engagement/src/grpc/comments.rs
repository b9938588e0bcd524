use std::collections::BTreeSet;

use futures::try_join;
use kith_log::topics;
use kith_proto::engagement::v1 as proto;
use kith_proto::engagement::v1::comment_service_server::CommentService;
use kith_proto::time;
use kith_service::ids::{parse_id, payload_digest};
use kith_service::kit::Asked;
use kith_service::page_token::page_size;
use kith_service::text::parse_text;
use kith_service::{Failure, limits};
use proto::{Comment, CreateCommentRequest, CreateCommentResponse, ListCommentsRequest, ListCommentsResponse};
use tonic::{Request, Response, Status};

use super::{Call, command_id, parse_id_or_empty};
use crate::comment::{self, Before, Command, Cursor, Listed};
use crate::{Decided, EngagementService, scene};

const CREATE: &str = "kith.engagement.v1.CommentService/CreateComment";
/// Binds page tokens. A cursor of another form gets another name.
const LIST: &str = "kith.engagement.v1.CommentService/ListComments.1";

#[tonic::async_trait]
impl CommentService for EngagementService {
    async fn create_comment(
        &self,
        request: Request<CreateCommentRequest>,
    ) -> Result<Response<CreateCommentResponse>, Status> {
        Ok(Response::new(self.do_create_comment(Call::of(request)?).await?))
    }

    async fn list_comments(
        &self,
        request: Request<ListCommentsRequest>,
    ) -> Result<Response<ListCommentsResponse>, Status> {
        Ok(Response::new(self.do_list_comments(Call::of(request)?).await?))
    }
}

impl EngagementService {
    async fn do_create_comment(&self, call: Call<CreateCommentRequest>) -> Result<CreateCommentResponse, Failure> {
        let command = self.parse_comment(&call)?;
        let seen = self.kit.see(&call.request.at_least, call.deadline).await?;
        let state = &seen.state;
        let comment_id = command.comment_id();
        let look = || async {
            let (scene, made) = try_join!(
                scene::load(state, &command.author_id, &command.post_id, &command.parent_comment_id),
                comment::by_id(state, &command.post_id, &comment_id),
            )?;
            let rests_on = made.as_ref().map(|made| made.position);
            let made = made.map(|made| made.row);
            let at_ms = made.as_ref().map_or(command.at_ms, |made| made.at.0);
            Ok((comment::decide(&Before { scene, made }, &command)?, (rests_on, at_ms)))
        };
        let asked = Asked { topic: topics::ENGAGEMENT, key: &command.post_id, id: command.id, digest: command.digest };
        let (event, (rests_on, at_ms)) = seen.decide(asked, call.deadline, look).await?;
        let decided = Decided { post_id: &command.post_id, id: command.id, event, rests_on };
        let consistency_token = self.conclude(&seen, decided, call.deadline).await?;
        Ok(CreateCommentResponse { comment: Some(present(command, comment_id, at_ms)), consistency_token })
    }

    fn parse_comment(&self, call: &Call<CreateCommentRequest>) -> Result<Command, Failure> {
        let CreateCommentRequest { post_id, parent_comment_id, text, request_id, .. } = &call.request;
        parse_id("post_id", post_id)?;
        parse_id_or_empty("parent_comment_id", parent_comment_id)?;
        let text = parse_text("text", text, limits::COMMENT)?;
        let id = command_id(call.caller, CREATE, request_id, &self.kit.runtime)?;
        let digest = payload_digest(&[post_id.as_bytes(), parent_comment_id.as_bytes(), text.as_bytes()]);
        let (author_id, at_ms) = (call.viewer(), self.kit.runtime.now_ms());
        let (post_id, parent_comment_id) = (post_id.clone(), parent_comment_id.clone());
        Ok(Command { id, author_id, post_id, parent_comment_id, text, digest, at_ms })
    }

    async fn do_list_comments(&self, call: Call<ListCommentsRequest>) -> Result<ListCommentsResponse, Failure> {
        let ListCommentsRequest { post_id, parent_comment_id, .. } = &call.request;
        parse_id("post_id", post_id)?;
        parse_id_or_empty("parent_comment_id", parent_comment_id)?;
        let size = page_size("page_size", call.request.page_size)?;
        let filter = [post_id.as_bytes(), parent_comment_id.as_bytes()];
        let after = self.kit.page_tokens.open(LIST, &filter, &call.request.page_token)?;
        let after =
            after.map(|bytes: Vec<u8>| Cursor::decode(&bytes).ok_or_else(Failure::page_token_invalid)).transpose()?;
        let seen = self.kit.see(&call.request.at_least, call.deadline).await?;
        let (state, viewer, as_of) = (&seen.state, call.viewer(), seen.as_of());
        // One more than asked for tells whether there is a next page.
        let (scene, mut level) = try_join!(
            scene::load(state, &viewer, post_id, parent_comment_id),
            comment::level(state, post_id, parent_comment_id, after, size + 1),
        )?;
        scene.visible()?;
        let more = level.len() > size;
        level.truncate(size);
        let next_page_token = match level.last().filter(|_| more).and_then(Listed::cursor) {
            Some(cursor) => self.kit.page_tokens.seal(LIST, &filter, &cursor.encode())?,
            None => String::new(),
        };
        let authors: BTreeSet<String> = level.iter().map(|listed| listed.author_id().to_owned()).collect();
        let blocked = scene::blocked(state, &viewer, authors).await?;
        let listed = level.len();
        let shown = level.into_iter().filter(|listed| !blocked.contains(listed.author_id()));
        let comments: Vec<Comment> = shown.map(|listed| listed.present(post_id)).collect();
        let omitted_count = u32::try_from(listed - comments.len()).unwrap_or(u32::MAX);
        Ok(ListCommentsResponse { comments, next_page_token, omitted_count, as_of })
    }
}

fn present(command: Command, comment_id: String, at_ms: i64) -> Comment {
    Comment {
        comment_id,
        post_id: command.post_id,
        parent_comment_id: command.parent_comment_id,
        author_id: command.author_id,
        text: command.text,
        create_time: Some(time::timestamp(at_ms)),
    }
}
