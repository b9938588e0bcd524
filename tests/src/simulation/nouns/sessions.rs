//! Sessions: begun with a password, kept up by refresh tokens, ended; and that what was ended is accepted nowhere.

mod ends;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kith_log::{LogPartition, Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateSessionRequest, ListSessionsRequest, RefreshSessionRequest};
use kith_service::auth::SessionRef;
use kith_service::limits::REVOCATIONS_KNOWN_SECONDS;
use tonic::{Code, Status};

use ends::{ChangePassword, End, EndAll, ResetPassword};

use super::accounts::{ACCOUNTS, PASSWORD};
use super::lists::{List, There, whole};
use super::{Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, REVOKED};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

const SESSIONS: &str = "sessions";
const SERVICE: &str = "identity";

pub struct Sessions;

/// A session after some of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    stands: bool,
    /// The highest refresh token that was used.
    used: u32,
}

#[derive(Default)]
struct Person {
    sessions: BTreeMap<String, (Offset, Timeline<Standing>)>,
    password_set_at: u64,
    away: bool,
    /// Changes of the password that took effect.
    changes: BTreeSet<RecordId>,
}

/// By account.
#[derive(Default)]
struct People(BTreeMap<String, Person>);

impl Person {
    fn now(&self, session_id: &str) -> Standing {
        self.sessions.get(session_id).map(|(_, line)| line.last()).unwrap_or_default()
    }

    fn set(&mut self, session_id: &str, offset: Offset, standing: Standing) {
        if let Some((_, line)) = self.sessions.get_mut(session_id) {
            line.set(offset, standing);
        }
    }

    fn end_all_but(&mut self, kept: &str, offset: Offset) {
        for (_, (_, line)) in self.sessions.iter_mut().filter(|(session_id, _)| *session_id != kept) {
            let now = line.last();
            line.set(offset, Standing { stands: false, ..now });
        }
    }

    fn read(&mut self, event: &Private, id: RecordId, offset: Offset) {
        match event {
            Private::SessionCreated(event) => {
                let is_proven = event.by_identity || event.password_set_at == self.password_set_at;
                let begins = is_proven && !self.away;
                self.sessions.entry(event.session_id.clone()).or_insert((offset, Timeline::default()));
                self.set(&event.session_id, offset, Standing { stands: begins, used: 1 });
            }
            Private::RefreshTokenUsed(event) => {
                let now = self.now(&event.session_id);
                if now.stands && now.used + 1 == event.number {
                    self.set(&event.session_id, offset, Standing { used: event.number, ..now });
                }
            }
            Private::SessionEnded(event) => {
                let now = self.now(&event.session_id);
                self.set(&event.session_id, offset, Standing { stands: false, ..now });
            }
            Private::SessionsEnded(event) => self.end_all_but(&event.kept_session_id, offset),
            Private::AccountStateRequested(event) => {
                if event.deactivates {
                    self.end_all_but("", offset);
                }
                self.away = event.deactivates;
            }
            Private::PasswordChanged(event) => {
                let may = event.session_id.is_empty() || self.now(&event.session_id).stands;
                if may && (event.is_reset || event.password_set_at == self.password_set_at) {
                    self.end_all_but(&event.session_id, offset);
                    self.password_set_at = offset + 1;
                    self.changes.insert(id);
                }
            }
            _ => {}
        }
    }
}

impl Noun for Sessions {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 6, draw: |scene| Some(op(Begin { handle: handle(scene)? })) },
                Draw { weight: 10, draw: |scene| Some(op(refresh(scene, false)?)) },
                Draw { weight: 2, draw: |scene| Some(op(refresh(scene, true)?)) },
                Draw { weight: 3, draw: |scene| Some(op(End { session_id: scene.own(SESSIONS)?.id.clone() })) },
                Draw { weight: 1, draw: |scene| Some(op(EndAll { by: by(scene) })) },
                Draw { weight: 1, draw: |scene| Some(op(ChangePassword { by: by(scene) })) },
                Draw { weight: 1, draw: |_| Some(op(ResetPassword)) },
                Draw { weight: 2, draw: |_| Some(whole(OfCaller)) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<People>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::IdentityPrivate(event) = &fact.event else { return };
        let account_id = match event {
            Private::AccountRequested(_)
            | Private::ProfileRequested(_)
            | Private::IdentityRequested(_)
            | Private::ExchangeRequested(_)
            | Private::HandleChangeRequested(_)
            | Private::HandleClaimRequested(_)
            | Private::HandleChangeSettled(_)
            | Private::HandleReleased(_) => return,
            Private::SessionCreated(event) => &event.account_id,
            Private::RefreshTokenUsed(event) => &event.account_id,
            Private::SessionEnded(event) => &event.account_id,
            Private::SessionsEnded(event) => &event.account_id,
            Private::PasswordChanged(event) => &event.account_id,
            Private::AccountStateRequested(event) => &event.account_id,
        };
        if fact.is_new {
            let people = &mut model.state_mut::<People>().0;
            people.entry(account_id.clone()).or_default().read(event, fact.id, fact.position.offset);
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let mut questions = Vec::new();
        for (account, person) in &model.state::<People>().0 {
            questions.push((account.clone(), whole(OfCaller)));
            // One that never began was given to nobody: no token names it.
            let begun = person.sessions.iter().filter(|(_, (_, line))| line.ever((0, Offset::MAX), |now| now.stands));
            for (session_id, (made_at, line)) in begun {
                let Some(session) = reference(session_id, *made_at) else { continue };
                questions.push((account.clone(), op(Use { session, stands: line.last().stands })));
            }
        }
        questions
    }
}

fn reference(session_id: &str, made_at: Offset) -> Option<SessionRef> {
    Some(SessionRef { id: RecordId::parse(session_id)?, made_at })
}

fn handle(scene: &Scene<'_>) -> Option<String> {
    let all = scene.board.all(ACCOUNTS).iter();
    all.filter(|account| account.id == scene.actor).map(|account| account.name.clone()).next()
}

/// With the newest token that is known, or with the one before.
fn refresh(scene: &Scene<'_>, older: bool) -> Option<Refresh> {
    let session = scene.own(SESSIONS)?;
    let token = if older && !session.on.is_empty() { &session.on } else { &session.name };
    let goes_on = !older && scene.chance.per_mille(700);
    Some(Refresh { session_id: session.id.clone(), token: token.clone(), goes_on })
}

/// Mostly one of the actor's sessions, at times none.
fn by(scene: &Scene<'_>) -> Option<SessionRef> {
    let session = scene.own(SESSIONS).filter(|_| scene.chance.per_mille(800))?;
    reference(&session.id, session.number)
}

/// Where it was made, and its number, as its maker wrote them.
fn parts(token: &str) -> Option<(Offset, u32)> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let made_at = u64::from_be_bytes(bytes.get(33..41)?.try_into().ok()?);
    Some((made_at, u32::from_be_bytes(bytes.get(41..45)?.try_into().ok()?)))
}

fn client(to: &Callers) -> SessionServiceClient<Way> {
    SessionServiceClient::new(to.way(SERVICE))
}

fn partition(model: &Model, account: &str) -> LogPartition {
    model.partition(topics::IDENTITY_PRIVATE, account)
}

/// What the session was while it was asked about.
fn meanwhile(model: &Model, call: &Call, session_id: &str) -> Vec<Standing> {
    let window = call.meanwhile(partition(model, &call.actor));
    let line = model.state::<People>().0.get(&call.actor).and_then(|person| person.sessions.get(session_id));
    line.map(|(_, line)| line.within(window)).unwrap_or_default()
}

fn record(actor: &str, rpc: &str, request_id: &str) -> Option<Appended> {
    let id = record_id(actor, rpc, request_id)?;
    Some(Appended { topic: topics::IDENTITY_PRIVATE, key: actor.to_owned(), id })
}

#[derive(Debug)]
struct Begin {
    handle: String,
}

#[async_trait]
impl Operation for Begin {
    /// The session, and its refresh token.
    type Answer = (String, String);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(String, String)>, Status> {
        let request = CreateSessionRequest {
            handle: self.handle.clone(),
            password: PASSWORD.to_owned(),
            request_id: ask.request_id,
            at_least: ask.at_least,
            ..Default::default()
        };
        let begun = client(to).create_session(request).await?.into_inner();
        Ok(Reply::new((begun.session_id, begun.refresh_token), begun.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(String, String), Code>) -> Vec<Finding> {
        let Ok((session_id, _)) = told else { return Vec::new() };
        let stood = call.shaken || meanwhile(model, call, session_id).iter().any(|now| now.stands);
        let what = || format!("a session that never stood: {session_id} of {}", call.actor);
        (!stood).then(|| Finding::new(EFFECTIVE_ONCE, what())).into_iter().collect()
    }

    fn learn(&self, board: &mut Board, actor: &str, (session_id, token): &(String, String)) {
        let number = parts(token).map(|(made_at, _)| made_at).unwrap_or_default();
        let (id, name, by) = (session_id.clone(), token.clone(), vec![actor.to_owned()]);
        board.add(SESSIONS, Thing { id, name, by, number, ..Thing::default() });
    }
}

#[derive(Debug)]
struct Refresh {
    session_id: String,
    token: String,
    /// With the token that is given too, at once.
    goes_on: bool,
}

#[async_trait]
impl Operation for Refresh {
    /// The tokens that were given, one after the other.
    type Answer = Vec<String>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Vec<String>>, Status> {
        let refresh = async |token: &str| {
            let request = RefreshSessionRequest { refresh_token: token.to_owned(), at_least: ask.at_least.clone() };
            Ok::<_, Status>(client(to).refresh_session(request).await?.into_inner())
        };
        let first = refresh(&self.token).await?;
        let next = if self.goes_on { refresh(&first.refresh_token).await.ok() } else { None };
        let token = next.as_ref().unwrap_or(&first).consistency_token.clone();
        let given = std::iter::once(first).chain(next).map(|refreshed| refreshed.refresh_token);
        Ok(Reply::new(given.collect(), token))
    }

    /// A token that was given is the one sent or the next. The one sent was then the highest used; or it was refused because it
    /// was lower, and then the session is over.
    fn check(&self, model: &Model, call: &Call, told: Result<&Vec<String>, Code>) -> Vec<Finding> {
        let Some((_, sent)) = parts(&self.token).filter(|_| !call.shaken) else { return Vec::new() };
        let states = meanwhile(model, call, &self.session_id);
        let wrong = match told {
            Ok(given) => {
                let given: Vec<u32> = given.iter().filter_map(|token| Some(parts(token)?.1)).collect();
                let sent = std::iter::once(sent).chain(given.iter().copied());
                let is_right = |(sent, given): (u32, &u32)| {
                    let current = states.iter().any(|now| now.stands && now.used == sent);
                    current && [sent, sent + 1].contains(given)
                };
                (!sent.zip(&given).all(is_right)).then(|| format!("was answered with {given:?}"))
            }
            Err(Code::Unauthenticated) => {
                let reused = states.iter().any(|now| now.used > sent);
                let over = states.iter().any(|now| !now.stands);
                let stays = states.last().is_some_and(|now| now.stands);
                match (reused, over) {
                    (true, _) if stays => Some("was refused as used before, and its session goes on".to_owned()),
                    (false, false) => Some("was refused for no reason".to_owned()),
                    _ => None,
                }
            }
            Err(_) => None,
        };
        let what = |wrong| format!("{} (number {sent}) {wrong}: {states:?}", self.session_id);
        wrong.map(|wrong| Finding::new(REVOKED, what(wrong))).into_iter().collect()
    }

    fn learn(&self, board: &mut Board, _: &str, given: &Vec<String>) {
        let Some(token) = given.last() else { return };
        board.change(SESSIONS, &self.session_id, |session| {
            let number = |token: &str| parts(token).map(|(_, number)| number);
            if number(token) > number(&session.name) {
                session.on = std::mem::replace(&mut session.name, token.clone());
            }
        });
    }
}

/// Calls with an access token of the session. One that is over must be refused within the bound.
#[derive(Debug)]
struct Use {
    session: SessionRef,
    stands: bool,
}

#[async_trait]
impl Operation for Use {
    /// Whether it was accepted.
    type Answer = bool;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<bool>, Status> {
        let mut seconds = 0;
        loop {
            let request = ListSessionsRequest { at_least: ask.at_least.clone(), ..Default::default() };
            match client(to).list_sessions(to.by(&ask.actor, Some(self.session), request)).await {
                Ok(_) if !self.stands && seconds < REVOCATIONS_KNOWN_SECONDS => {}
                Ok(page) => return Ok(Reply::new(true, page.into_inner().as_of)),
                Err(status) if status.code() == Code::Unauthenticated => {
                    return Ok(Reply::new(false, ask.at_least.concat()));
                }
                Err(status) => return Err(status),
            }
            seconds += 1;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }

    fn check(&self, _: &Model, call: &Call, told: Result<&bool, Code>) -> Vec<Finding> {
        let wrong = told.is_ok_and(|accepted| *accepted != self.stands);
        let what =
            || format!("{:?} of {}, which stands: {}, was accepted: {told:?}", self.session, call.actor, self.stands);
        wrong.then(|| Finding::new(REVOKED, what())).into_iter().collect()
    }
}

/// The caller's own sessions.
#[derive(Debug)]
struct OfCaller;

#[async_trait]
impl List for OfCaller {
    type Row = String;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<String>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListSessionsRequest { page_size, page_token, at_least };
        let page = client(to).list_sessions(to.from(&actor, request)).await?.into_inner();
        let answer = page.sessions.into_iter().map(|session| session.session_id).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[String]) -> Vec<Finding> {
        let mut there = There::default();
        let window = call.window(partition(model, &call.actor));
        let person = model.state::<People>().0.get(&call.actor);
        for (session_id, (_, line)) in person.into_iter().flat_map(|person| &person.sessions) {
            let states = line.within(window);
            there.put(session_id, states.iter().any(|now| now.stands), states.iter().all(|now| now.stands));
        }
        there.check(call, &rows.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
