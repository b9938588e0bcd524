//! What a record says of a share of a post; what it makes of one is in [`hold`](crate::hold).

use kith_fold::Record;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Shared, Unshared};

use crate::hold;

/// What a record says of an account's share of a post.
pub type Change<'a> = hold::Change<'a, &'a Shared>;

/// `None`: the record is about no share, or its ids can be no keys.
pub fn change(record: &Record) -> Option<Change<'_>> {
    match &record.event {
        Event::Engagement(Engagement::Shared(event)) => {
            Change::new(&event.post_id, &event.actor_id, &event.share_id, Some(event))
        }
        Event::Engagement(Engagement::Unshared(Unshared { post_id, actor_id, share_id, .. })) => {
            Change::new(post_id, actor_id, share_id, None)
        }
        _ => None,
    }
}
