//! Suggestions: whom those follow whom one follows, who is in between, and who was declined. People are few here, so the samples hold
//! everybody.

use std::cmp::Reverse;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::{DismissSuggestionRequest, SuggestAccountsRequest};
use tonic::Status;

use super::accounts::Handles;
use super::follows::{Edges, always_parted, another, edges, ever_parted, own_record, size};
use super::lists::{List, There, WHOLE, walk, whole};
use super::mutes::{always_muted, ever_muted};
use super::requests::may_be_over;
use super::{Draw, Noun};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{Finding, HIDDEN, LISTS};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op};

const SERVICE: &str = "identity";

pub struct Suggestions;

impl Noun for Suggestions {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 4, draw: |scene| Some(op(Dismiss { target: another(scene)? })) },
                Draw { weight: 2, draw: |_| Some(whole(OfCaller)) },
                Draw { weight: 1, draw: |scene| Some(walk(OfCaller, size(scene))) },
            ]
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let of = |person: &String| [WHOLE, 1].map(|page_size| (person.clone(), walk(OfCaller, page_size)));
        model.state::<Handles>().people().flat_map(of).collect()
    }
}

#[derive(Debug)]
struct Dismiss {
    target: String,
}

#[async_trait]
impl Operation for Dismiss {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = DismissSuggestionRequest { target_id: self.target.clone(), request_id, at_least };
        let done = GraphServiceClient::new(to.way(SERVICE)).dismiss_suggestion(to.from(&actor, request)).await?;
        Ok(Reply::new((), done.into_inner().consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "DismissSuggestion", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let window = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
        let line = model.state::<Edges>().0.get(&(call.actor.clone(), self.target.clone()));
        line.is_some_and(|line| line.ever(window, |edge| edge.dismissed))
    }
}

/// The caller's own suggestions.
#[derive(Debug)]
struct OfCaller;

/// A suggestion: who, by whom, and by how many.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    account: String,
    via: Vec<String>,
    count: usize,
}

/// Whether something was so at some time that a call could see, and whether all the time.
type Times = (bool, bool);

fn follows(model: &Model, call: &Call, who: &str, whom: &str) -> Times {
    let states = edges(model, call, who, whom);
    (states.iter().any(|edge| edge.following), states.iter().all(|edge| edge.following))
}

/// Whether the caller sees somebody, and wants to.
fn seen(model: &Model, call: &Call, whom: &str) -> Times {
    let ever = !always_parted(model, call, &call.actor, whom) && !always_muted(model, call, whom);
    (ever, !ever_parted(model, call, &call.actor, whom) && !ever_muted(model, call, whom))
}

/// Whether somebody is between the caller and an account. The follows of a private account are open to who follows it, and the caller
/// does.
fn is_between(model: &Model, call: &Call, who: &str, account: &str) -> Times {
    let all = [follows(model, call, &call.actor, who), follows(model, call, who, account), seen(model, call, who)];
    let always = all.iter().all(|(_, always)| *always) && !may_be_over(model, call, &call.actor, who);
    (all.iter().all(|(ever, _)| *ever), always)
}

/// Whether an account could be suggested but for who is between.
fn may_be(model: &Model, call: &Call, account: &str) -> Times {
    let states = edges(model, call, &call.actor, account);
    let (ever, always) = seen(model, call, account);
    let fits = states.iter().map(|edge| !edge.following && !edge.requested && !edge.dismissed).collect::<Vec<_>>();
    (ever && fits.contains(&true), always && fits.iter().all(|fits| *fits))
}

/// How many are between, those counted twice who follow the caller too; `None`: that changed.
fn score(model: &Model, call: &Call, people: &[&String], account: &str) -> Option<(usize, usize)> {
    let (mut score, mut count) = (0, 0);
    for who in people.iter().filter(|who| ***who != call.actor && **who != account) {
        match (is_between(model, call, who, account), follows(model, call, who, &call.actor)) {
            ((false, _), _) => {}
            ((_, true), (mutual, always)) if mutual == always => {
                (score, count) = (score + 1 + usize::from(mutual), count + 1);
            }
            _ => return None,
        }
    }
    Some((score, count))
}

#[async_trait]
impl List for OfCaller {
    type Row = Seen;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<Seen>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = SuggestAccountsRequest { page_size, page_token, at_least };
        let mut graph = GraphServiceClient::new(to.way(SERVICE));
        let page = graph.suggest_accounts(to.from(&actor, request)).await?.into_inner();
        let answer = page.suggestions.into_iter().map(|suggestion| Seen {
            account: suggestion.account.unwrap_or_default().account_id,
            via: suggestion.via.into_iter().map(|account| account.account_id).collect(),
            count: suggestion.via_count as usize,
        });
        Ok(Reply { answer: answer.collect(), token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[Seen]) -> Vec<Finding> {
        let people: Vec<&String> = model.state::<Handles>().people().collect();
        let others = || people.iter().filter(|person| ***person != call.actor);
        let mut there = There::default();
        for account in others() {
            let (fits, always_fits) = may_be(model, call, account);
            let between = others().filter(|who| *who != account).map(|who| is_between(model, call, who, account));
            let between: Vec<Times> = between.collect();
            let ever = fits && between.iter().any(|(ever, _)| *ever);
            there.put(account, ever, always_fits && between.iter().any(|(_, always)| *always));
        }
        let ids: Vec<&str> = rows.iter().map(|row| &*row.account).collect();
        let mut findings = there.check(call, &ids);
        for Seen { account, via, count } in rows {
            let strange = via.iter().filter(|who| !is_between(model, call, who, account).0);
            findings.extend(strange.map(|who| {
                Finding::new(HIDDEN, format!("{account} is suggested to {} by {who}, who is not between", call.actor))
            }));
            let told = score(model, call, &people, account).is_none_or(|(_, between)| between == *count);
            if !told || via.is_empty() || via.len() > 3 || via.len() > *count {
                findings.push(Finding::new(LISTS, format!("{account} is suggested by {count}: {via:?}")));
            }
        }
        let scores: Option<Vec<_>> = ids.iter().map(|id| score(model, call, &people, id)).collect();
        let places =
            scores.map(|scores| scores.into_iter().map(|(score, _)| Reverse(score)).zip(&ids).collect::<Vec<_>>());
        if call.pages == 1 && places.is_some_and(|places| !places.is_sorted()) {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {ids:?}", call.op, call.actor)));
        }
        findings
    }
}
