//! Who is in a conversation, as its members are told.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_proto::messaging::v1::ListMembersRequest;
use tonic::Status;

use crate::simulation::callers::Callers;
use crate::simulation::checks::{Finding, HIDDEN, LISTS, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Model, micros};
use crate::simulation::nouns::conversations::{SERVICE, client};
use crate::simulation::nouns::follows::{edges, parted_by};
use crate::simulation::nouns::lists::{List, There};
use crate::simulation::nouns::presences::{always_away, ever_away};
use crate::simulation::nouns::talk;
use crate::simulation::operation::{Ask, Reply};

#[derive(Debug)]
pub struct ListMembers {
    pub talk: String,
}

/// An account, its role, and since when it is in the conversation.
type SeenMember = (String, i32, i64);

#[async_trait]
impl List for ListMembers {
    type Row = SeenMember;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenMember>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListMembersRequest { conversation_id: self.talk.clone(), page_size, page_token, at_least };
        let page = client(to).list_members(to.from(&actor, request)).await?.into_inner();
        let member = |member: kith_proto::messaging::v1::Member| {
            let joined = micros(member.join_time.as_ref());
            (member.account_id, member.role, joined)
        };
        let answer = page.members.into_iter().map(member).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenMember]) -> Vec<Finding> {
        let states = talk::states(model, call, &self.talk);
        let known: BTreeSet<SeenMember> = states.iter().flat_map(|now| now.listed_members()).collect();
        let ids: BTreeSet<&String> = known.iter().map(|(id, ..)| id).collect();
        let mut there = There::default();
        for id in ids {
            let blocks = edges(model, call, id, &call.actor).iter().any(|edge| edge.blocking) && *id != call.actor;
            let hides = blocks || ever_away(model, call, id);
            there.put(
                id,
                !always_away(model, call, id),
                states.iter().all(|now| now.members.contains_key(id)) && !hides,
            );
        }
        let listed: Vec<&str> = rows.iter().map(|(id, ..)| id.as_str()).collect();
        let mut findings = there.check(call, &listed);
        let unlike = rows.iter().filter(|row| !known.contains(row));
        findings.extend(unlike.map(|row| Finding::new(TOKEN, format!("{} has {row:?}, not of {known:?}", call.op))));
        let hidden = rows.iter().filter(|(id, ..)| parted_by(model, call, id, &call.actor));
        findings.extend(
            hidden.map(|row| Finding::new(HIDDEN, format!("{} has {row:?}, who blocks {}", call.op, call.actor))),
        );
        if !listed.is_sorted() {
            findings.push(Finding::new(LISTS, format!("{} is out of order: {rows:?}", call.op)));
        }
        findings
    }
}
