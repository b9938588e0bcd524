//! Carries out what happens in groups, and compares what each member sees.

use std::collections::BTreeSet;

use anyhow::Context;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;

use crate::check::Checker;
use crate::client::ask;
use crate::groups::{Group, Happens};
use crate::load::{Loaded, Loader};
use crate::plan::Plan;

const PAGE: i32 = 100;

impl Loader<'_> {
    /// One group, event by event. Gives its id, and the tokens.
    pub async fn gather(&self, loaded: &Loaded, n: usize, group: &Group) -> anyhow::Result<(String, Vec<String>)> {
        let conversations = ConversationServiceClient::new(self.services.messaging.clone());
        let (owner, of) = (&loaded.people[group.members[0]], |person: &usize| &loaded.people[*person]);
        let others = group.members[1..].iter().map(of);
        // Who follows whom, up to here.
        let seen = loaded.tokens.identity.iter().rfind(|token| !token.is_empty()).cloned();
        let request = messaging::CreateGroupRequest {
            title: group.title.clone(),
            member_ids: others.clone().map(|person| person.account_id.clone()).collect(),
            request_id: self.id("group", n),
            at_least: seen.into_iter().chain(others.map(|person| person.token.clone())).collect(),
            ..messaging::CreateGroupRequest::default()
        };
        let made = ask!(conversations.create_group(owner, request)).await?;
        let id = made.conversation.context("no group")?.conversation_id;
        let mut tokens = vec![made.consistency_token];
        for (at, event) in group.events.iter().enumerate() {
            let request_id = self.id("group event", n * 100 + at);
            let at_least = tokens.last().cloned().into_iter().collect();
            tokens.push(self.happens((loaded, owner), &id, event, (request_id, at_least)).await?);
            self.progress.inc(1);
        }
        Ok((id, tokens))
    }

    async fn happens(
        &self,
        (loaded, owner): (&Loaded, &crate::client::Session),
        id: &str,
        event: &Happens,
        (request_id, at_least): (String, Vec<String>),
    ) -> anyhow::Result<String> {
        let conversation_id = id.to_owned();
        let conversations = ConversationServiceClient::new(self.services.messaging.clone());
        match event {
            Happens::Says { by, text } => {
                let messages = MessageServiceClient::new(self.services.messaging.clone());
                let text = text.clone();
                let request =
                    messaging::SendMessageRequest { conversation_id, text, request_id, at_least, ..Default::default() };
                Ok(ask!(messages.send_message(loaded.people[*by], request)).await?.consistency_token)
            }
            Happens::Adds { whom } => {
                let account_ids = vec![loaded.people[*whom].account_id.clone()];
                let request = messaging::AddMembersRequest { conversation_id, account_ids, request_id, at_least };
                Ok(ask!(conversations.add_members(owner, request)).await?.consistency_token)
            }
            Happens::Removes { whom } => {
                let account_id = loaded.people[*whom].account_id.clone();
                let request = messaging::RemoveMemberRequest { conversation_id, account_id, request_id, at_least };
                Ok(ask!(conversations.remove_member(owner, request)).await?.consistency_token)
            }
        }
    }
}

impl Checker<'_> {
    /// Each member's messages, unread number and members of one group.
    pub async fn group(&self, n: usize) -> anyhow::Result<Vec<String>> {
        let (group, id) = (&self.plan.groups[n], &self.loaded.groups[n]);
        let messages = MessageServiceClient::new(self.services.messaging.clone());
        let conversations = ConversationServiceClient::new(self.services.messaging.clone());
        let mut differences = Vec::new();
        for person in group.stands() {
            let session = &self.loaded.people[person];
            let (conversation_id, page_size) = (id.clone(), PAGE);
            let list = messaging::ListMessagesRequest { conversation_id, page_size, ..Default::default() };
            let page = ask!(messages.list_messages(session, list)).await?;
            let found: Vec<&str> = page.messages.iter().rev().map(|message| message.text.as_str()).collect();
            let (seen, unread) = group.seen_by(person);
            // A block hides each from the other.
            let shown: Vec<&str> =
                seen.into_iter().filter(|(by, _)| !parted(self.plan, person, *by)).map(|(_, text)| text).collect();
            if found != shown {
                differences.push(format!("messages of group {n} for {person}: {found:?}, not {shown:?}"));
            }
            let counts = messaging::GetUnreadCountsRequest { conversation_ids: vec![id.clone()], at_least: Vec::new() };
            let counts = ask!(messages.get_unread_counts(session, counts)).await?;
            let found = counts.counts.first().map_or(0, |count| count.unread_count);
            if found != unread {
                differences.push(format!("unread of {person} in group {n}: {found}, not {unread}"));
            }
            let (conversation_id, page_size) = (id.clone(), PAGE);
            let list = messaging::ListMembersRequest { conversation_id, page_size, ..Default::default() };
            let page = ask!(conversations.list_members(session, list)).await?;
            let found: BTreeSet<&str> = page.members.iter().map(|member| member.account_id.as_str()).collect();
            let stands = group.stands();
            // Who blocks somebody is not there for that one.
            let there = stands.iter().filter(|other| !self.plan.blocks.contains(&(**other, person)));
            let there: BTreeSet<&str> = there.map(|other| self.loaded.people[*other].account_id.as_str()).collect();
            if found != there {
                differences.push(format!(
                    "members of group {n} for {person}: {} found, {} expected",
                    found.len(),
                    there.len()
                ));
            }
        }
        Ok(differences)
    }
}

fn parted(plan: &Plan, one: usize, other: usize) -> bool {
    plan.blocks.contains(&(one, other)) || plan.blocks.contains(&(other, one))
}
