//! A client: asks, asks again when it was not told, remembers what it was told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_fold::Token;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::call::{Ask, call};
use super::history::{Body, Call, List, Op, Outcome, Page, Reply};
use super::planted::Planted;
use super::workload::{self, Board};
use super::world::World;
use crate::simulated::Chance;

/// How often a command is asked for before its client gives up.
const ATTEMPTS: u32 = 6;
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
const PROCESS_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_MS: (u64, u64) = (5, 150);
const THINK_MS: (u64, u64) = (0, 60);
/// Pages of one walk.
const PAGES: usize = 60;

/// What clients share: what they tell each other, and the history.
#[derive(Default)]
pub struct Shared {
    board: Mutex<Board>,
    /// All that anybody was told.
    token: Mutex<Token>,
    history: Mutex<Vec<Call>>,
    clock: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn board(&self) -> Board {
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
    world: Arc<World>,
    shared: Arc<Shared>,
    chance: Chance,
    /// Accounts that it acts for.
    accounts: Vec<String>,
    /// What it has seen.
    token: Token,
    asked: usize,
    name: String,
}

impl Client {
    pub fn new(number: usize, world: Arc<World>, shared: Arc<Shared>) -> Self {
        let chance = Chance::new(world.plan.seed, &format!("client {number}"));
        let name = format!("client {number}");
        Self { number, world, shared, chance, accounts: Vec::new(), token: Token::default(), asked: 0, name }
    }

    /// Makes its accounts, then does what the plan asks.
    pub async fn run(mut self) {
        let plan = self.world.plan.clone();
        if plan.hot {
            // All at once, before anybody can know who won.
            let handle = workload::CONTENDED[0].to_owned();
            self.perform("", Op::CreateAccount { handle }).await;
        }
        for person in (self.number..plan.people).step_by(plan.clients) {
            let handle = format!("person_{person}");
            self.perform("", Op::CreateAccount { handle }).await;
        }
        let mut seconds = Vec::new();
        for step in 0..plan.steps {
            self.world.runtime.sleep(self.chance.ms(THINK_MS.0, THINK_MS.1)).await;
            let board = self.shared.board();
            let Some(actor) = self.chance.pick(&self.accounts).cloned() else { continue };
            let name = format!("{} {step}", self.number);
            let is_hot = plan.hot && self.number < 2 && self.chance.per_mille(600);
            let next = match is_hot {
                true => workload::hot(&board, self.number, &self.chance),
                false => workload::next(&board, &actor, &name, &self.chance).map(|op| (actor, op)),
            };
            let Some((actor, op)) = next else { continue };
            if let (true, Op::Block { target }) = (is_hot, &op) {
                seconds.push(self.second_device(step, &actor, target));
            }
            self.perform(&actor, op).await;
        }
        for second in seconds {
            // It has told the history all that it was told.
            let _ = second.await;
        }
    }

    /// The same account takes its block back elsewhere, while the block is not answered yet.
    fn second_device(&self, step: usize, actor: &str, target: &str) -> JoinHandle<()> {
        let chance = Chance::new(self.world.plan.seed, &format!("second device {} {step}", self.number));
        let (world, shared, token) = (Arc::clone(&self.world), Arc::clone(&self.shared), self.token.clone());
        let name = format!("client {}, second device, step {step},", self.number);
        let mut second =
            Self { number: self.number, world, shared, chance, accounts: Vec::new(), token, asked: 0, name };
        let (actor, op) = (actor.to_owned(), Op::Unblock { target: target.to_owned() });
        self.world.runtime.spawn(async move {
            second.world.runtime.sleep(second.chance.ms(5, 120)).await;
            second.perform(&actor, op).await;
        })
    }

    async fn perform(&mut self, actor: &str, op: Op) {
        self.asked += 1;
        let request_id = format!("{} asks {}", self.name, self.asked);
        let before = self.world.log.ends();
        let at_least = self.at_least();
        let shaken = self.world.is_shaken();
        let mut call = Call {
            actor: actor.to_owned(),
            op: op.clone(),
            request_id,
            at_least,
            attempts: 0,
            asked: self.shared.tick(),
            told: 0,
            before,
            after: Default::default(),
            answered_by: Default::default(),
            outcome: Outcome::Unknown("not asked".to_owned()),
            shaken,
        };
        match &op {
            Op::Walk { list, page_size } => self.walk(&mut call, list, *page_size).await,
            _ => self.insist(&mut call, &op).await,
        }
        call.after = self.world.log.ends();
        call.told = self.shared.tick();
        call.shaken = self.world.is_shaken();
        self.learn(&call);
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

    /// Asks until it is told.
    async fn insist(&self, call: &mut Call, op: &Op) {
        loop {
            call.attempts += 1;
            call.outcome = self.ask_once(call, op).await;
            let told = !matches!(call.outcome, Outcome::Unknown(_));
            if told || call.attempts == ATTEMPTS {
                return;
            }
            self.world.runtime.sleep(self.chance.ms(RETRY_MS.0, RETRY_MS.1)).await;
        }
    }

    async fn ask_once(&self, record: &mut Call, op: &Op) -> Outcome {
        let wanted = self.chance.below(self.world.processes());
        let Some((slot, process)) = self.world.some_process(wanted, PROCESS_TIMEOUT).await else {
            return Outcome::Unknown("no process is up".to_owned());
        };
        record.answered_by = (slot, process.life);
        let at_least = match record.at_least.positions().next() {
            Some(_) => vec![record.at_least.encode()],
            None => Vec::new(),
        };
        let request_id = record.request_id.clone();
        let ask = Ask { actor: record.actor.clone(), request_id, at_least, op: op.clone() };
        let ask = match self.world.planted {
            Some(planted) => planted.ask(ask, record.attempts),
            None => ask,
        };
        if let Some(early) = self.world.planted.and_then(|planted| planted.answers_early(&ask)) {
            let owned = Arc::clone(&process);
            let task = self.world.runtime.spawn(async move { call(&owned.services, ask).await });
            process.owns(task.abort_handle());
            return Outcome::Ok(early);
        }
        let owned = Arc::clone(&process);
        let task = self.world.runtime.spawn(async move { call(&owned.services, ask).await });
        process.owns(task.abort_handle());
        match tokio::time::timeout(CALL_TIMEOUT, task).await {
            Ok(Ok(answer)) => outcome(answer, self.world.planted),
            Ok(Err(_)) => Outcome::Unknown("the process died".to_owned()),
            Err(_) => Outcome::Unknown("no answer in time".to_owned()),
        }
    }

    async fn walk(&self, call: &mut Call, list: &List, size: i32) {
        let mut token = String::new();
        let (mut ids, mut items) = (Vec::new(), Vec::new());
        for _ in 0..PAGES {
            let op = Op::List { list: list.clone(), page: Page { size, token } };
            call.attempts = 0;
            self.insist(call, &op).await;
            let Outcome::Ok(reply) = &call.outcome else { return };
            match &reply.body {
                Body::Ids(page) => ids.extend(page.iter().cloned()),
                Body::Items(page) => items.extend(page.iter().cloned()),
                _ => {}
            }
            let last = reply.token.clone();
            token = reply.next_page.clone();
            if token.is_empty() {
                let body = if items.is_empty() { Body::Ids(ids) } else { Body::Items(items) };
                call.outcome = Outcome::Ok(Reply { body, token: last, next_page: String::new() });
                return;
            }
            self.world.runtime.sleep(self.chance.ms(0, 40)).await;
        }
        call.outcome = Outcome::Fail(Code::OutOfRange, "a walk without an end".to_owned());
    }

    fn learn(&mut self, call: &Call) {
        let Some(reply) = call.reply() else { return };
        let token = Token::decode(&reply.token, self.world.plan.partitions).unwrap_or_default();
        if !call.op.is_read() || self.chance.per_mille(500) {
            self.token.merge(&token);
        }
        locked(&self.shared.token).merge(&token);
        let mut board = locked(&self.shared.board);
        match (&call.op, &reply.body) {
            (Op::CreateAccount { handle }, Body::Id(id)) => {
                board.people.push(id.clone());
                board.handles.push(handle.clone());
                // One made on the way is left to itself: it shows who has its handle.
                if call.actor.is_empty() {
                    self.accounts.push(id.clone());
                }
            }
            (Op::CreatePost { .. }, Body::Post(post)) => {
                board.posts.push((post.post_id.clone(), call.actor.clone(), post.revision));
            }
            (Op::EditPost { post_id, .. }, Body::Post(post)) => {
                board.posts.iter_mut().filter(|(id, ..)| id == post_id).for_each(|known| known.2 = post.revision);
            }
            (Op::OpenTalk { other }, Body::Id(talk)) if !board.talks.iter().any(|(known, _)| known == talk) => {
                board.talks.push((talk.clone(), [call.actor.clone(), other.clone()]));
            }
            _ => {}
        }
    }
}

fn outcome(answer: Result<Reply, Status>, planted: Option<Planted>) -> Outcome {
    match answer {
        Ok(reply) => Outcome::Ok(reply),
        Err(status) => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled
                if !planted.is_some_and(Planted::calls_unknown_a_no) =>
            {
                Outcome::Unknown(status.message().to_owned())
            }
            code => Outcome::Fail(code, status.message().to_owned()),
        },
    }
}
