//! A client: sends requests, repeats unanswered ones, records answers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_fold::Token;
use tokio::task::JoinHandle;
use tonic::Code;

use super::board::{Board, Scene, Thing};
use super::history::{Call, Outcome};
use super::hot;
use super::nouns::{self, Block, CreateAccount, Unblock, create};
use super::operation::{Ask, Op, Reply, op};
use super::plain;
use super::target::Target;
use crate::simulated::Chance;

/// Pages of one walk: more than any list of a torture has rows.
const PAGES: usize = 10_000;
/// A command is repeated within this many others of its client: rows keep more ids than that
/// (`kith_fold::APPLIED_IDS_PER_ROW`).
const COPIED_WITHIN: usize = 4;
/// How often, in a thousand commands.
const TWICE_AT_ONCE: u32 = 100;
/// How much later the second of two at once is sent.
const COPY_LATE_MS: u64 = 20;
/// How often, in a thousand steps.
const AGAIN: u32 = 60;

/// State shared by clients: their knowledge, and the history.
#[derive(Default)]
pub struct Shared {
    board: Mutex<Board>,
    /// All answers.
    token: Mutex<Token>,
    history: Mutex<Vec<Call>>,
    clock: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn board(&self) -> Board {
        locked(&self.board).clone()
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    pub fn take_history(&self) -> Vec<Call> {
        std::mem::take(&mut *locked(&self.history))
    }
}

pub struct Client {
    number: usize,
    target: Arc<dyn Target>,
    shared: Arc<Shared>,
    chance: Chance,
    /// Accounts that it acts for.
    accounts: Vec<String>,
    /// What it has seen.
    token: Token,
    asked: usize,
    name: String,
    /// What it asked for last.
    commands: VecDeque<Call>,
}

impl Client {
    pub fn new(number: usize, target: Arc<dyn Target>, shared: Arc<Shared>) -> Self {
        let (name, token) = (format!("client {number}"), Token::default());
        let chance = Chance::new(target.plan().seed, &name);
        let (accounts, commands) = (Vec::new(), VecDeque::new());
        Self { number, target, shared, chance, accounts, token, asked: 0, name, commands }
    }

    /// Makes its accounts, then does what the plan asks.
    pub async fn run(mut self) {
        let plan = self.target.plan().clone();
        if self.target.knows_services() {
            locked(&self.shared.board).add(nouns::SERVICES, Thing::default());
        }
        if plan.hot {
            // All at once, before anybody can know who won.
            self.perform("", create(nouns::CONTENDED[0])).await;
        }
        for person in (self.number..plan.people).step_by(plan.clients) {
            self.perform("", create(&hot::handle(person))).await;
        }
        let mut seconds = Vec::new();
        for step in 0..plan.steps {
            if self.target.is_over() {
                break;
            }
            let (low, high) = self.target.patience().think_ms;
            self.target.runtime().sleep(self.chance.ms(low, high)).await;
            if plan.copies && self.chance.per_mille(AGAIN) {
                self.ask_again().await;
                continue;
            }
            let board = self.shared.board();
            let Some(actor) = self.chance.pick(&self.accounts).cloned() else { continue };
            let name = format!("{} {step}", self.number);
            let is_hot = plan.hot && self.number < 2 && self.chance.per_mille(600);
            let next = match is_hot {
                true => hot::next(&board, self.number, &self.chance),
                false => {
                    let scene = Scene { board: &board, actor: &actor, step: &name, chance: &self.chance };
                    nouns::draw(&scene, nouns::of(plan.draws)).map(|op| (actor, op))
                }
            };
            let Some((actor, op)) = next else { continue };
            if let (true, Some(Block { target })) = (is_hot, op.as_any().downcast_ref()) {
                seconds.push(self.second_device(step, &actor, target));
            }
            self.perform(&actor, op).await;
        }
        for second in seconds {
            // It has recorded all its answers in the history.
            let _ = second.await;
        }
    }

    /// The same account takes its block back elsewhere, while the block is not answered yet.
    fn second_device(&self, step: usize, actor: &str, target: &str) -> JoinHandle<()> {
        let mut second = Self::new(self.number, Arc::clone(&self.target), Arc::clone(&self.shared));
        second.chance = Chance::new(self.target.plan().seed, &format!("second device {} {step}", self.number));
        second.name = format!("client {}, second device, step {step},", self.number);
        second.token = self.token.clone();
        let (actor, op) = (actor.to_owned(), op(Unblock { target: target.to_owned() }));
        self.target.runtime().spawn(async move {
            second.target.runtime().sleep(second.chance.ms(5, 120)).await;
            second.perform(&actor, op).await;
        })
    }

    fn call(&self, actor: &str, op: Op, request_id: String) -> Call {
        Call {
            actor: actor.to_owned(),
            op,
            request_id,
            at_least: self.at_least(),
            attempts: 0,
            pages: 0,
            asked: self.shared.tick(),
            told: 0,
            before: self.target.heads(),
            after: Default::default(),
            answered_by: None,
            outcome: Outcome::Unknown("not asked".to_owned()),
            shaken: self.target.is_shaken(),
            copy_of: None,
            is_copy: false,
        }
    }

    async fn perform(&mut self, actor: &str, op: Op) {
        self.asked += 1;
        let request_id = format!("{} asks {}", self.name, self.asked);
        let mut call = self.call(actor, op, request_id);
        if call.op.is_read() {
            self.walk(&mut call).await;
            return self.end(call);
        }
        if !(self.target.plan().copies && self.chance.per_mille(TWICE_AT_ONCE)) {
            self.insist(&mut call, "").await;
            return self.end(call);
        }
        let mut copy = Call { is_copy: true, ..call.clone() };
        let late = async {
            self.target.runtime().sleep(self.chance.ms(0, COPY_LATE_MS)).await;
            self.insist(&mut copy, "").await;
        };
        futures::join!(self.insist(&mut call, ""), late);
        copy.copy_of = call.reply().map(|reply| reply.answer.clone());
        self.end(call);
        self.end(copy);
    }

    /// Asks for something that it asked for before.
    async fn ask_again(&mut self) {
        let known = Vec::from_iter(self.commands.iter().cloned());
        let Some(first) = self.chance.pick(&known) else { return };
        let copy_of = first.reply().map(|reply| reply.answer.clone());
        let mut copy = self.call(&first.actor, Arc::clone(&first.op), first.request_id.clone());
        (copy.is_copy, copy.copy_of) = (true, copy_of);
        self.insist(&mut copy, "").await;
        self.end(copy);
    }

    fn end(&mut self, mut call: Call) {
        call.after = self.target.heads();
        call.told = self.shared.tick();
        call.shaken = self.target.is_shaken();
        self.learn(&call);
        if !call.op.is_read() && !call.is_copy {
            self.commands.push_back(call.clone());
            self.commands.drain(..self.commands.len().saturating_sub(COPIED_WITHIN));
        }
        locked(&self.shared.history).push(call);
    }

    /// Mostly what the client has seen itself, sometimes what others have, sometimes nothing.
    fn at_least(&self) -> Token {
        match self.chance.below(10) {
            0 => Token::default(),
            1 | 2 => {
                let mut token = locked(&self.shared.token).clone();
                token.merge(&self.token);
                token
            }
            _ => self.token.clone(),
        }
    }

    /// Repeats the request until it is answered.
    async fn insist(&self, call: &mut Call, page_token: &str) {
        let patience = self.target.patience();
        loop {
            call.attempts += 1;
            let wanted = self.chance.below(self.target.processes());
            let ask = ask(call, page_token);
            (call.answered_by, call.outcome) = self.target.ask(wanted, &call.op, ask, call.attempts).await;
            let told = !matches!(call.outcome, Outcome::Unknown(_));
            if told || call.attempts == patience.attempts {
                return;
            }
            self.target.runtime().sleep(self.chance.ms(patience.retry_ms.0, patience.retry_ms.1)).await;
        }
    }

    /// All pages of an answer, one after the other, while others write.
    async fn walk(&self, call: &mut Call) {
        let (mut page_token, mut all) = (String::new(), None);
        for _ in 0..PAGES {
            call.attempts = 0;
            call.pages += 1;
            self.insist(call, &page_token).await;
            let Some(last) = take_page(call, &mut all) else { return };
            page_token = last;
            self.target.runtime().sleep(self.chance.ms(0, 40)).await;
        }
        call.outcome = Outcome::Fail(Code::OutOfRange, "a walk without an end".to_owned());
    }

    fn learn(&mut self, call: &Call) {
        let Some(reply) = call.reply() else { return };
        let token = plain::token(&reply.token).unwrap_or_default();
        if !call.op.is_read() || self.chance.per_mille(500) {
            self.token.merge(&token);
        }
        locked(&self.shared.token).merge(&token);
        call.op.learn(&mut locked(&self.shared.board), &call.actor, &reply.answer);
        // One made on the way is left to itself: it shows who has its handle.
        let is_account = call.op.as_any().is::<CreateAccount>() && call.actor.is_empty() && !call.is_copy;
        if let Some(account) = reply.answer.get::<String>().filter(|_| is_account) {
            self.accounts.push(account.clone());
        }
    }
}

pub(super) fn ask(call: &Call, page_token: &str) -> Ask {
    let at_least = match call.at_least.positions().next() {
        Some(_) => vec![plain::text(&call.at_least)],
        None => Vec::new(),
    };
    let (actor, request_id) = (call.actor.clone(), call.request_id.clone());
    Ask { actor, request_id, at_least, page_token: page_token.to_owned(), confusion: None }
}

/// Appends the page of an answer to the earlier ones. Returns the token of the next one; `None`: that was the last, and
/// the call's answer is all of them.
pub(super) fn take_page(call: &mut Call, all: &mut Option<super::operation::Answer>) -> Option<String> {
    let reply = call.reply()?.clone();
    let answer = match all.take() {
        Some(all) => call.op.append(&all, &reply.answer),
        None => reply.answer,
    };
    if reply.next_page.is_empty() {
        call.outcome = Outcome::Ok(Reply { answer, token: reply.token, next_page: String::new() });
        return None;
    }
    *all = Some(answer);
    Some(reply.next_page)
}
