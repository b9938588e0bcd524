//! Members' own views of conversations: muted, put away, marked as unread.

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    ArchiveConversationRequest, MarkUnreadRequest, MuteConversationRequest, UnarchiveConversationRequest,
    UnmuteConversationRequest,
};
use kith_proto::{Event, time};
use tonic::Status;

use super::conversations::{SERVICE, SeenTalk, client};
use super::messages::own;
use super::talk::{self, FOR_EVER, Talk, View, change};
use super::{Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::Callers;
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Operation, Reply, op, record_id};
use crate::simulation::world::EPOCH_MS;

pub struct Views;

impl Noun for Views {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 2, draw: |scene| Some(op(ChangeView { talk: own(scene)?, change: mute(scene) })) },
                Draw { weight: 1, draw: |scene| Some(op(ChangeView { talk: own(scene)?, change: Change::Unmute })) },
                Draw { weight: 2, draw: |scene| Some(op(ChangeView { talk: own(scene)?, change: Change::Archive })) },
                Draw { weight: 1, draw: |scene| Some(op(ChangeView { talk: own(scene)?, change: Change::Unarchive })) },
                Draw {
                    weight: 2,
                    draw: |scene| Some(op(ChangeView { talk: own(scene)?, change: Change::MarkUnread })),
                },
            ]
        }
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Messaging(event) = &fact.event else { return };
        let mut view = |talk: &str, account: &str, set: &dyn Fn(&mut View, u64)| {
            change(model, talk, fact, |now| {
                let last = now.last();
                if now.members.contains_key(account) {
                    set(now.views.entry(account.to_owned()).or_default(), last);
                }
            });
        };
        match event {
            Messaging::ConversationMuted(event) => {
                let until = event.until.as_ref().map_or(FOR_EVER, |until| micros(Some(until)));
                view(&event.conversation_id, &event.account_id, &|view, _| view.muted_until = until);
            }
            Messaging::ConversationUnmuted(event) => {
                view(&event.conversation_id, &event.account_id, &|view, _| view.muted_until = 0);
            }
            Messaging::ConversationArchived(event) => {
                view(&event.conversation_id, &event.account_id, &|view, last| view.archived_at = Some(last));
            }
            Messaging::ConversationUnarchived(event) => {
                view(&event.conversation_id, &event.account_id, &|view, _| view.archived_at = None);
            }
            Messaging::ConversationMarkedUnread(event) => {
                view(&event.conversation_id, &event.account_id, &|view, _| view.marks = view.marks.max(event.mark));
            }
            _ => {}
        }
    }
}

/// Without an end, or with one around the times at which histories run.
fn mute(scene: &Scene<'_>) -> Change {
    match scene.chance.below(3) {
        0 => Change::Mute(None),
        _ => Change::Mute(Some(EPOCH_MS + i64::try_from(scene.chance.between(0, 20_000)).unwrap_or(0))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Until then, in milliseconds.
    Mute(Option<i64>),
    Unmute,
    Archive,
    Unarchive,
    MarkUnread,
}

#[derive(Debug)]
struct ChangeView {
    talk: String,
    change: Change,
}

impl ChangeView {
    fn method(&self) -> &'static str {
        match self.change {
            Change::Mute(_) => "MuteConversation",
            Change::Unmute => "UnmuteConversation",
            Change::Archive => "ArchiveConversation",
            Change::Unarchive => "UnarchiveConversation",
            Change::MarkUnread => "MarkUnread",
        }
    }

    fn is_so(&self, actor: &str, now: &Talk) -> bool {
        let view = now.view(actor);
        match self.change {
            Change::Mute(None) => view.muted_until == FOR_EVER,
            Change::Mute(Some(until)) => view.muted_until == until * 1_000,
            Change::Unmute => view.muted_until == 0,
            Change::Archive => view.archived_at == Some(now.last()),
            Change::Unarchive => view.archived_at.is_none(),
            Change::MarkUnread => view.is_marked(),
        }
    }
}

#[async_trait]
impl Operation for ChangeView {
    type Answer = SeenTalk;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenTalk>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let conversation_id = self.talk.clone();
        macro_rules! asked {
            ($rpc:ident, $request:expr) => {{
                let done = client(to).$rpc(to.from(&actor, $request)).await?.into_inner();
                (done.conversation, done.consistency_token)
            }};
        }
        let (seen, token) = match self.change {
            Change::Mute(until) => {
                let until = until.map(time::timestamp);
                let request = MuteConversationRequest { conversation_id, request_id, at_least, until };
                asked!(mute_conversation, request)
            }
            Change::Unmute => {
                asked!(unmute_conversation, UnmuteConversationRequest { conversation_id, request_id, at_least })
            }
            Change::Archive => {
                asked!(archive_conversation, ArchiveConversationRequest { conversation_id, request_id, at_least })
            }
            Change::Unarchive => {
                asked!(unarchive_conversation, UnarchiveConversationRequest { conversation_id, request_id, at_least })
            }
            Change::MarkUnread => asked!(mark_unread, MarkUnreadRequest { conversation_id, request_id, at_least }),
        };
        Ok(Reply::new(SeenTalk::of(seen.unwrap_or_default()), token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let rpc = format!("kith.messaging.v1.ConversationService/{}", self.method());
        let id = record_id(actor, &rpc, request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.talk.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        talk::ever(model, &self.talk, |now| now.members.contains_key(&call.actor) && self.is_so(&call.actor, now))
    }

    fn stands(&self, model: &Model, call: &Call, told: &SeenTalk) -> bool {
        talk::ever(model, &self.talk, |now| told.is(&call.actor, now))
    }
}
