//! Comments on posts and replies to them: immutable, listed a level at a time, oldest first.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Found, Record};
use kith_log::{Topic, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{
    Comment, CommentContent, CommentCreated, CreateCommentRequest, CreateCommentResponse, ListCommentsRequest,
    ListCommentsResponse, comment_service_server, rpc,
};
use kith_proto::time;
use kith_relations::comment;
use kith_relations::sight::Viewer;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::{self, parse_id, parse_id_or_empty};
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_service::text::parse_text;
use kith_service::{Failure, limits, rpcs};
use kith_tables::{StoreError, Value};

use crate::discussion::{self, Comments, IndexRow, Listed};
use crate::scene::{self, Scene};
use crate::{EngagementService, Rejection};

rpcs! {
    comment_service_server::CommentService => EngagementService {
        command create_comment: rpc::CreateComment => Comments,
        list list_comments: rpc::ListComments => Comments,
    }
}

/// Asks for a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Of the comment that it makes.
    pub comment_id: String,
    pub post_id: String,
    /// Empty: the post.
    pub parent_comment_id: String,
    /// Parsed.
    pub text: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    /// The post, or the comment that is replied to.
    pub scene: Scene,
    /// The command's own comment, if it was made before.
    pub made: Option<IndexRow>,
}

fn created(asked: &Asked, command: &Command, post_author_id: &str) -> Event {
    Event::CommentCreated(CommentCreated {
        comment_id: command.comment_id.clone(),
        post_id: command.post_id.clone(),
        parent_comment_id: command.parent_comment_id.clone(),
        author_id: asked.actor.clone(),
        post_author_id: post_author_id.to_owned(),
        content: Some(asked.close(&CommentContent { text: command.text.clone() })),
        create_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
    })
}

#[async_trait]
impl Noun for Comments {
    type Service = EngagementService;
    type Command = Command;
    type State = Before;
    type Event = Event;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::ENGAGEMENT;

    fn key(command: &Command) -> &str {
        &command.post_id
    }

    fn about<'c>(command: &'c Command, _: &Before) -> &'c str {
        &command.comment_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let Command { comment_id, post_id, parent_comment_id, .. } = command;
        let (scene, made) = try_join!(
            scene::load(&seen.state, &asked.actor, post_id, parent_comment_id),
            discussion::by_id(&seen.state, post_id, comment_id),
        )?;
        let rests_on = made.as_ref().map(|made| made.position);
        let newest = made.as_ref().map(|made: &Found<IndexRow>| made.row.at).unwrap_or_default().max(scene.newest());
        let made = made.map(|made| made.row);
        Ok(Standing::new(Before { scene, made }, rests_on).after(newest))
    }

    /// `None`: the comment was made before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Event>, Rejection> {
        match &before.made {
            Some(made) if made.payload_digest[..] != asked.digest[..] => Err(Rejection::RequestIdReused),
            Some(_) => Ok(None),
            None => {
                let (post, _) = before.scene.visible()?;
                Ok(Some(created(asked, command, &post.author_id)))
            }
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        before.made = comment::created(record).map(|event| IndexRow::of(event, record.time));
    }
}

impl Answers<rpc::CreateComment> for Comments {
    fn parse(_: &EngagementService, asked: &Asked, request: CreateCommentRequest) -> Result<Command, Failure> {
        let CreateCommentRequest { post_id, parent_comment_id, text, .. } = request;
        parse_id("post_id", &post_id)?;
        parse_id_or_empty("parent_comment_id", &parent_comment_id)?;
        let text = parse_text("text", &text, limits::COMMENT)?;
        let comment_id = ids::made_in(asked.id, &post_id).to_string();
        Ok(Command { comment_id, post_id, parent_comment_id, text })
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<CreateCommentResponse, Failure> {
        let Command { comment_id, post_id, parent_comment_id, text } = command;
        let made_at = before.made.map_or(asked.at, |made| made.at);
        let (author_id, create_time) = (asked.actor.clone(), Some(time::of_us(made_at.0)));
        let comment = Comment { comment_id, post_id, parent_comment_id, author_id, text, create_time };
        Ok(CreateCommentResponse { comment: Some(comment), ..CreateCommentResponse::default() })
    }
}

#[async_trait]
impl Lists<rpc::ListComments> for Comments {
    type Service = EngagementService;
    type Wanted = ListCommentsRequest;

    const IS_PUBLIC: bool = true;

    fn parse(request: ListCommentsRequest) -> Result<ListCommentsRequest, Failure> {
        parse_id("post_id", &request.post_id)?;
        parse_id_or_empty("parent_comment_id", &request.parent_comment_id)?;
        Ok(request)
    }

    async fn page(
        _: &EngagementService,
        seen: &Seen<'_>,
        wanted: ListCommentsRequest,
        page: &PageAsk,
    ) -> Result<(ListCommentsResponse, Option<Vec<Value>>), Failure> {
        let ListCommentsRequest { post_id, parent_comment_id, .. } = &wanted;
        let (scene, (level, next)) = try_join!(
            scene::load(&seen.state, &seen.viewer, post_id, parent_comment_id),
            discussion::level(seen, post_id, parent_comment_id, page),
        )?;
        scene.visible()?;
        let sights = Viewer::new(&seen.state, &seen.viewer).sights(level.iter().map(Listed::author_id)).await?;
        let (listed, opener) = (level.len(), seen.opener());
        let shown = level.into_iter().filter(|listed| sights.of(listed.author_id()).is_clear());
        let comments: Vec<Comment> = shown.map(|listed| listed.present(&opener, post_id)).collect();
        let omitted_count = omitted_count(listed - comments.len());
        Ok((ListCommentsResponse { comments, omitted_count, ..ListCommentsResponse::default() }, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Visible;
    use crate::subject::SubjectRow;
    use crate::tests::history::{asked, hex};

    fn command() -> Command {
        on(1)
    }

    fn on(post: u8) -> Command {
        let (post_id, parent_comment_id, text) = (hex(post), String::new(), "hello".to_owned());
        let comment_id = ids::made_in(asked(5).id, &post_id).to_string();
        Command { comment_id, post_id, parent_comment_id, text }
    }

    fn on_a_post() -> Before {
        let row = Some(SubjectRow { author_id: hex(0xb), ..SubjectRow::default() });
        Before { scene: Scene { post: Visible { row, blocked: false }, comment: None }, made: None }
    }

    #[test]
    fn a_comment_is_made_once() {
        let Ok(Some(Event::CommentCreated(event))) = Comments::decide(&on_a_post(), &asked(5), &command()) else {
            panic!("not made")
        };
        assert_eq!((event.comment_id, event.post_author_id), (command().comment_id, hex(0xb)));
        assert_ne!(on(2).comment_id, command().comment_id);
        let made = IndexRow { payload_digest: event.payload_digest, ..IndexRow::default() };
        let made = Before { made: Some(made), ..on_a_post() };
        assert_eq!(Comments::decide(&made, &asked(5), &command()), Ok(None));
        assert_eq!(
            Comments::decide(&made, &Asked { digest: [2; 32], ..asked(5) }, &command()),
            Err(Rejection::RequestIdReused)
        );
    }

    #[test]
    fn nothing_is_said_about_what_is_not_there() {
        assert_eq!(Comments::decide(&Before::default(), &asked(5), &command()), Err(Rejection::PostNotFound));
        let mut no_parent = on_a_post();
        no_parent.scene.comment = Some(Visible::default());
        assert_eq!(Comments::decide(&no_parent, &asked(5), &command()), Err(Rejection::CommentNotFound));
    }
}
