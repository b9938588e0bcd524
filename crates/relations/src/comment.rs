//! Which comments count. Pure.

use kith_fold::Record;
use kith_proto::Event;
use kith_proto::engagement::v1::CommentCreated;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;

use crate::are_ids;

/// The comment that the record makes; `None`: it makes none, or its ids can be no keys. The parent's may be empty: it
/// replies to the post.
pub fn created(record: &Record) -> Option<&CommentCreated> {
    let Event::Engagement(Engagement::CommentCreated(event)) = &record.event else { return None };
    let parent = &*event.parent_comment_id;
    let named = are_ids(&[&event.post_id, &event.comment_id, &event.author_id]);
    (named && (parent.is_empty() || are_ids(&[parent]))).then_some(event)
}
