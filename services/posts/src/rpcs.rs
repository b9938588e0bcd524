//! What the RPCs of posts make of the rules of a post; an edit stands with its contest.

use async_trait::async_trait;
use kith_content::Opener;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{
    BatchGetPostsRequest, BatchGetPostsResponse, CreatePostRequest, CreatePostResponse, DeletePostRequest,
    DeletePostResponse, GetPostRequest, GetPostResponse, PostCreated, PostEntry, rpc,
};
use kith_proto::time;
use kith_service::command::{Answers, Asked, Noun};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::Reads;
use kith_service::{Failure, limits};

use crate::post::{self, Before, Command, Posts, Rejection, evolve};
use crate::{PostsService, content};

impl Answers<rpc::CreatePost> for Posts {
    fn parse(_: &PostsService, asked: &Asked, request: CreatePostRequest) -> Result<Command, Failure> {
        let text = content::parse_text(&request.text)?;
        let languages = content::parse_languages(request.languages)?;
        Ok(Command::Create { post_id: asked.id.to_string(), text, languages })
    }

    /// The post as it stands. One that has gone since is answered as it was made: who made it learns that it was.
    fn answer(opener: &Opener, asked: &Asked, command: Command, before: Before) -> Result<CreatePostResponse, Failure> {
        let Before { mut post, said } = before;
        if let Some(gone) = post.take_if(|post| post.deleted) {
            let (content, attributes) = (Some(asked.close(&said.content)), Some(said.attributes));
            let made = PostCreated { author_id: gone.author_id, content, attributes, ..PostCreated::default() };
            evolve(&mut post, &PostEvent::PostCreated(made), gone.create_time);
        }
        let row = post.ok_or_else(Failure::internal)?;
        let post = Some(row.present(opener, Self::key(&command)));
        Ok(CreatePostResponse { post, ..CreatePostResponse::default() })
    }
}

impl Answers<rpc::DeletePost> for Posts {
    fn parse(_: &PostsService, _: &Asked, request: DeletePostRequest) -> Result<Command, Failure> {
        parse_id("post_id", &request.post_id)?;
        Ok(Command::Delete { post_id: request.post_id })
    }

    fn answer(_: &Opener, _: &Asked, command: Command, before: Before) -> Result<DeletePostResponse, Failure> {
        let delete_time = before.post.map(|post| time::of_us(post.delete_time.0));
        let post_id = Self::key(&command).to_owned();
        Ok(DeletePostResponse { post_id, delete_time, ..DeletePostResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::GetPost> for Posts {
    type Service = PostsService;
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: GetPostRequest) -> Result<String, Failure> {
        parse_id("post_id", &request.post_id)?;
        Ok(request.post_id)
    }

    async fn read(_: &PostsService, seen: &Seen<'_>, post_id: String) -> Result<GetPostResponse, Failure> {
        let found = post::seen_by(&seen.state, &seen.viewer, &post_id).await?;
        let post = found.map(|found| found.row).filter(|row| !row.deleted).ok_or(Rejection::NotFound)?;
        Ok(GetPostResponse { post: Some(post.present(&seen.opener(), &post_id)), ..GetPostResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::BatchGetPosts> for Posts {
    type Service = PostsService;
    type Wanted = Vec<String>;

    const IS_PUBLIC: bool = true;

    fn parse(request: BatchGetPostsRequest) -> Result<Vec<String>, Failure> {
        if request.post_ids.len() > limits::BATCH_ITEMS {
            return Err(Failure::batch_too_long("post_ids", request.post_ids.len()));
        }
        let mut ids = request.post_ids.iter().enumerate();
        ids.try_for_each(|(at, id)| parse_id(&format!("post_ids[{at}]"), id).map(|_| ()))?;
        Ok(request.post_ids)
    }

    async fn read(_: &PostsService, seen: &Seen<'_>, post_ids: Vec<String>) -> Result<BatchGetPostsResponse, Failure> {
        let rows = post::all_seen_by(&seen.state, &seen.viewer, &post_ids).await?;
        let opener = seen.opener();
        let entries = post_ids.into_iter().zip(rows).map(|(post_id, found)| {
            let row = found.map(|found| found.row).filter(|row| !row.deleted);
            PostEntry { post: row.map(|row| row.present(&opener, &post_id)), post_id }
        });
        Ok(BatchGetPostsResponse { entries: entries.collect(), ..BatchGetPostsResponse::default() })
    }
}
