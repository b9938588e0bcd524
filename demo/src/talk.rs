//! What is said in conversations, and what becomes of it: carried out, and compared.

use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use tonic::Code;

use crate::check::Checker;
use crate::client::{Session, ask, refused_with};
use crate::expected::{Said, muted};
use crate::load::{Loaded, Loader};
use crate::plan::{Amend, Line};

/// More than a conversation of the plan has messages.
const PAGE: i32 = 100;

impl Loader<'_> {
    /// One line; `said` are the ids of the messages before it. Its token; empty: it was refused, since a later part of the plan was
    /// carried out before.
    pub async fn line(
        &self,
        loaded: &Loaded,
        (conversation_id, said): (&str, &mut Vec<String>),
        line: &Line,
        (request_id, at_least): (String, Vec<String>),
    ) -> anyhow::Result<String> {
        let client = MessageServiceClient::new(self.services.messaging.clone());
        let conversation_id = conversation_id.to_owned();
        match line {
            Line::Says { by, text } => {
                let request = messaging::SendMessageRequest {
                    conversation_id,
                    text: text.clone(),
                    request_id,
                    at_least,
                    ..Default::default()
                };
                let answer = ask!(client.send_message(loaded.people[*by], request));
                match answer.await {
                    Err(error) if refused_with(&error, &[Code::FailedPrecondition]) => Ok(String::new()),
                    answer => {
                        let answer = answer?;
                        said.push(answer.message.unwrap_or_default().message_id);
                        Ok(answer.consistency_token)
                    }
                }
            }
            Line::Amends { by, number, how } => {
                let at = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
                let Some(message_id) = at.and_then(|at| said.get(at)).cloned() else { return Ok(String::new()) };
                let amended =
                    self.amend(&loaded.people[*by], (conversation_id, message_id), how, (request_id, at_least)).await;
                match amended {
                    Err(error) if refused_with(&error, &[Code::FailedPrecondition]) => Ok(String::new()),
                    answer => answer,
                }
            }
            Line::Mutes { by } => {
                let client = ConversationServiceClient::new(self.services.messaging.clone());
                let request = messaging::MuteConversationRequest { conversation_id, request_id, at_least, until: None };
                Ok(ask!(client.mute_conversation(loaded.people[*by], request)).await?.consistency_token)
            }
            Line::Reads { by, up_to } => {
                let request = messaging::MarkReadRequest {
                    conversation_id,
                    up_to_number: *up_to,
                    request_id,
                    at_least,
                    ..Default::default()
                };
                Ok(ask!(client.mark_read(loaded.people[*by], request)).await?.consistency_token)
            }
            Line::Accepts { by } => {
                let client = ConversationServiceClient::new(self.services.messaging.clone());
                let request = messaging::AcceptConversationRequest { conversation_id, request_id, at_least };
                Ok(ask!(client.accept_conversation(loaded.people[*by], request)).await?.consistency_token)
            }
            Line::Declines { by } => {
                let client = ConversationServiceClient::new(self.services.messaging.clone());
                let request = messaging::DeclineConversationRequest { conversation_id, request_id, at_least };
                Ok(ask!(client.decline_conversation(loaded.people[*by], request)).await?.consistency_token)
            }
        }
    }

    async fn amend(
        &self,
        by: &Session,
        (conversation_id, message_id): (String, String),
        how: &Amend,
        (request_id, at_least): (String, Vec<String>),
    ) -> anyhow::Result<String> {
        let client = MessageServiceClient::new(self.services.messaging.clone());
        match how {
            Amend::Edits(text) => {
                let request = messaging::EditMessageRequest {
                    conversation_id,
                    message_id,
                    text: text.clone(),
                    request_id,
                    at_least,
                    ..messaging::EditMessageRequest::default()
                };
                Ok(ask!(client.edit_message(by, request)).await?.consistency_token)
            }
            Amend::Unsends => {
                let request = messaging::UnsendMessageRequest { conversation_id, message_id, request_id, at_least };
                Ok(ask!(client.unsend_message(by, request)).await?.consistency_token)
            }
            Amend::Reacts => {
                let grapheme = "\u{1F44D}".to_owned();
                let request =
                    messaging::ReactToMessageRequest { conversation_id, message_id, grapheme, request_id, at_least };
                Ok(ask!(client.react_to_message(by, request)).await?.consistency_token)
            }
        }
    }
}

impl Checker<'_> {
    /// What both see of a conversation.
    pub async fn talk(&self, talk: usize) -> anyhow::Result<Vec<String>> {
        let of = &self.plan.conversations[talk];
        let conversation_id = self.loaded.conversations[talk].clone();
        if conversation_id.is_empty() {
            return Ok(Vec::new());
        }
        let client = MessageServiceClient::new(self.services.messaging.clone());
        let muted = muted(of);
        let parted = self.parted(of.between.0, of.between.1);
        let (unread_a, unread_b) = self.expected.unread[talk];
        let mut differences = Vec::new();
        for (person, expected) in [(of.between.0, unread_a), (of.between.1, unread_b)] {
            let message = messaging::GetUnreadCountsRequest {
                conversation_ids: vec![conversation_id.clone()],
                ..messaging::GetUnreadCountsRequest::default()
            };
            let answer = ask!(client.get_unread_counts(self.loaded.people[person], message)).await?;
            let found = answer.counts.first().map(|count| (count.unread_count, count.muted)).unwrap_or_default();
            let expected = (expected, muted.contains(&person));
            if found != expected {
                differences.push(format!("unread of {person} in talk {talk}: {found:?}, not {expected:?}"));
            }
            let message = messaging::ListMessagesRequest {
                conversation_id: conversation_id.clone(),
                page_size: PAGE,
                ..messaging::ListMessagesRequest::default()
            };
            let page = ask!(client.list_messages(self.loaded.people[person], message)).await?;
            let mut found: Vec<Said> = page.messages.iter().rev().map(|message| self.said(message)).collect();
            let mut expected = self.expected.messages[talk].clone();
            if parted {
                // A block hides the other's reactions.
                found.iter_mut().chain(&mut expected).for_each(|said| said.reactions = 0);
            }
            if found != expected {
                differences.push(format!("talk {talk} for {person}: {found:?}, not {expected:?}"));
            }
        }
        Ok(differences)
    }

    fn said(&self, message: &messaging::Message) -> Said {
        let by = self.loaded.people.iter().position(|person| person.account_id == message.sender_id);
        Said {
            by: by.unwrap_or(usize::MAX),
            text: message.text.clone(),
            edited: message.edit_time.is_some(),
            unsent: message.unsend_time.is_some(),
            reactions: message.reactions.iter().map(|of| of.count).sum(),
        }
    }
}
