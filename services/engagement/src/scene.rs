//! What a caller sees of a subject: the post, the comment that is meant, and the blocks between the caller and who wrote
//! them. Every command and every query goes through it, so that all agree on what is not there.

use std::collections::BTreeSet;

use futures::try_join;
use kith_fold::{Found, State};
use kith_relations::sight::Viewer;
use kith_tables::{StoreError, Timestamp};

use crate::Rejection;
use crate::discussion::{self, IndexRow};
use crate::subject::{self, SubjectRow};

/// A subject as one account sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    pub post: Visible<SubjectRow>,
    /// `None`: the post itself is meant.
    pub comment: Option<Visible<IndexRow>>,
}

/// Something that is there or not, and whether a block stands between the viewer and who wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Visible<R> {
    pub row: Option<R>,
    pub blocked: bool,
}

impl Scene {
    /// That the subject is there, blocks aside; gives who wrote it. What an account has done it may undo in spite of a
    /// block.
    pub fn exists(&self) -> Result<&str, Rejection> {
        let post = self.post.row.as_ref().ok_or(Rejection::PostNotFound)?;
        match &self.comment {
            None => Ok(&post.author_id),
            Some(comment) => Ok(&comment.row.as_ref().ok_or(Rejection::CommentNotFound)?.author_id),
        }
    }

    /// The latest time of what is there.
    pub fn newest(&self) -> Timestamp {
        let post = self.post.row.as_ref().map(|row| row.create_time);
        let comment = self.comment.as_ref().and_then(|comment| comment.row.as_ref()).map(|row| row.at);
        post.max(comment).unwrap_or_default()
    }

    /// That the subject is there and the viewer may see it; gives the post and who wrote the subject.
    pub fn visible(&self) -> Result<(&SubjectRow, &str), Rejection> {
        let post = self.post.row.as_ref().filter(|_| !self.post.blocked).ok_or(Rejection::PostNotFound)?;
        let author_id = self.exists()?;
        let hidden = self.comment.as_ref().is_some_and(|comment| comment.blocked);
        if hidden { Err(Rejection::CommentNotFound) } else { Ok((post, author_id)) }
    }
}

/// The subject as `viewer` sees it; `comment_id` empty: the post. Two reads side by side, then those of the blocks.
pub async fn load(state: &State, viewer: &str, post_id: &str, comment_id: &str) -> Result<Scene, StoreError> {
    let (post, comment) = try_join!(subject::post(state, post_id), discussion::by_id(state, post_id, comment_id))?;
    let meant = !comment_id.is_empty();
    let comment = meant.then(|| comment.map(|found: Found<IndexRow>| found.row));
    let mut scene = Scene {
        post: Visible { row: post, blocked: false },
        comment: comment.map(|row| Visible { row, blocked: false }),
    };
    mark_blocked(state, viewer, std::slice::from_mut(&mut scene)).await?;
    Ok(scene)
}

/// Sets what is blocked in scenes that were read without: two reads, however many scenes there are (at most a batch).
pub async fn mark_blocked(state: &State, viewer: &str, scenes: &mut [Scene]) -> Result<(), StoreError> {
    let authors: BTreeSet<String> = scenes.iter().flat_map(Scene::authors).map(str::to_owned).collect();
    let sights = Viewer::new(state, viewer).sights(authors.iter().map(String::as_str)).await?;
    for scene in scenes {
        let is_blocked = |author: Option<&str>| author.is_some_and(|author| !sights.of(author).is_clear());
        scene.post.blocked = is_blocked(scene.post.row.as_ref().map(|row| &*row.author_id));
        if let Some(comment) = &mut scene.comment {
            comment.blocked = is_blocked(comment.row.as_ref().map(|row| &*row.author_id));
        }
    }
    Ok(())
}

impl Scene {
    fn authors(&self) -> impl Iterator<Item = &str> {
        let comment = self.comment.as_ref().and_then(|comment| comment.row.as_ref());
        let post = self.post.row.as_ref().map(|row| &*row.author_id);
        post.into_iter().chain(comment.map(|row| &*row.author_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(comment: Option<Visible<IndexRow>>) -> Scene {
        let row = Some(SubjectRow { author_id: "ada".into(), ..SubjectRow::default() });
        Scene { post: Visible { row, blocked: false }, comment }
    }

    fn comment(blocked: bool) -> Option<Visible<IndexRow>> {
        Some(Visible { row: Some(IndexRow { author_id: "bob".into(), ..IndexRow::default() }), blocked })
    }

    #[test]
    fn what_is_not_there_looks_like_what_may_not_be_seen() {
        assert_eq!(Scene::default().visible(), Err(Rejection::PostNotFound));
        let mut blocked = scene(None);
        blocked.post.blocked = true;
        assert_eq!(blocked.visible(), Err(Rejection::PostNotFound));
        assert_eq!(scene(Some(Visible::default())).visible(), Err(Rejection::CommentNotFound));
        assert_eq!(scene(comment(true)).visible(), Err(Rejection::CommentNotFound));
    }

    #[test]
    fn the_author_is_that_of_what_is_meant() {
        assert_eq!(scene(None).visible().unwrap().1, "ada");
        assert_eq!(scene(comment(false)).visible().unwrap().1, "bob");
        assert_eq!(scene(comment(true)).exists(), Ok("bob"));
    }
}
