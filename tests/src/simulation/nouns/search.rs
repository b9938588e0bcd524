//! Searching accounts: whose handle or name begins as typed, in any script, and who is not to be found. Read here as naively as it
//! can be: names are few, and their words stand beside them.

use std::cmp::Reverse;

use async_trait::async_trait;
use kith_proto::identity::v1::SearchAccountsRequest;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_service::auth::Accounts;
use tonic::{Code, Status};

use super::accounts::Handles;
use super::follows::{edges, size};
use super::lists::{List, There, WHOLE, walk, whole};
use super::profiles::names;
use super::requests::{always_hidden, ever_hidden};
use super::services::WEB;
use super::{ACCOUNTS, Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::Callers;
use crate::simulation::checks::{Finding, HIDDEN, LISTS};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::operation::{Ask, Confusion, Op, Reply};

const SERVICE: &str = "identity";

/// Display names, their words, and where one may begin to type them.
pub const NAMES: [(&str, &str, &[&str]); 6] = [
    ("", "", &[]),
    ("Ada Lovelace", "ada lovelace", &["ada", "lovelace"]),
    ("ADA", "ada", &["ada"]),
    ("Straße 9", "strasse 9", &["strasse", "9"]),
    ("山田太郎", "山田太郎", &["山田太郎", "田太郎", "太郎", "郎"]),
    ("star", "star", &["star"]),
];
/// What is typed, and its words.
const TYPED: [(&str, &str); 9] = [
    ("p", "p"),
    ("a", "a"),
    ("s", "s"),
    ("Ada lov", "ada lov"),
    ("lovelace ADA", "lovelace ada"),
    ("ＳＴＲＡＳＳＥ", "strasse"),
    ("田", "田"),
    ("@star", "star"),
    ("nobody", "nobody"),
];

pub struct Search;

impl Noun for Search {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 2, draw: |scene| Some(whole(query(scene)?)) },
                Draw { weight: 1, draw: |scene| Some(walk(query(scene)?, size(scene))) },
            ]
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let ask = |person: &String, (typed, words): (&str, &str), page_size| {
            let (typed, words) = (typed.to_owned(), words.to_owned());
            (person.clone(), walk(Found { typed, words }, page_size))
        };
        let of = |(person, n): (&String, usize)| [ask(person, TYPED[0], WHOLE), ask(person, TYPED[n % TYPED.len()], 2)];
        model.state::<Handles>().people().zip(0..).flat_map(of).collect()
    }
}

fn query(scene: &Scene<'_>) -> Option<Found> {
    if scene.chance.per_mille(500) {
        let (typed, words) = scene.chance.pick(&TYPED)?;
        return Some(Found { typed: (*typed).to_owned(), words: (*words).to_owned() });
    }
    let handle = &scene.one(ACCOUNTS)?.name;
    let length = scene.chance.between(1, handle.len() as u64) as usize;
    let typed = handle.get(..length)?.to_owned();
    let words = words_of(&typed);
    (!words.is_empty()).then_some(Found { typed, words })
}

/// Of a handle: ASCII.
fn words_of(handle: &str) -> String {
    handle.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Accounts whose names begin as typed.
#[derive(Debug)]
struct Found {
    typed: String,
    words: String,
}

impl Found {
    /// How well the account fits under a display name: the greater the better; 0: not at all.
    fn fit(&self, handle: &str, display_name: &str) -> u8 {
        let handle = words_of(handle);
        let none: (&str, &str, &[&str]) = ("", "", &[]);
        let (_, words, starts) = NAMES.into_iter().find(|(name, ..)| *name == display_name).unwrap_or(none);
        let begins = |word: &str| handle.split(' ').chain(starts.iter().copied()).any(|start| start.starts_with(word));
        if !self.words.split(' ').all(begins) {
            return 0;
        }
        match &*self.words {
            query if handle == query => 5,
            query if words == query => 4,
            query if handle.starts_with(query) => 3,
            query if words.starts_with(query) => 2,
            _ => 1,
        }
    }

    /// Where the account stands in the order, if nothing changed that could move it.
    fn place(&self, model: &Model, call: &Call, account: &str) -> Option<(Reverse<(u8, u8)>, String)> {
        let fit = |(handle, name): (String, String)| (self.fit(&handle, &name), handle);
        let mut fits = names(model, call, account).into_iter().map(|names| names.map(fit));
        let fit = fits.next()??;
        let follows = |who: &str, whom: &str| {
            let states = edges(model, call, who, whom);
            let first = states.first()?.following;
            states.iter().all(|edge| edge.following == first).then_some(u8::from(first))
        };
        let near = 2 * follows(&call.actor, account)? + follows(account, &call.actor)?;
        let stays = fits.all(|other| other.as_ref() == Some(&fit));
        stays.then_some((Reverse((near, fit.0)), fit.1))
    }
}

#[async_trait]
impl List for Found {
    type Row = String;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<String>>, Status> {
        let Ask { actor, at_least, page_token, confusion, .. } = ask;
        let request = SearchAccountsRequest { query: self.typed.clone(), page_size, page_token, at_least };
        let request = match confusion {
            Some(Confusion::NobodyAsks) => to.acting((WEB, Accounts::Any), "", request)?,
            _ => to.from(&actor, request),
        };
        let page = AccountServiceClient::new(to.way(SERVICE)).search_accounts(request).await?.into_inner();
        let answer = page.accounts.into_iter().map(|account| account.account_id).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    /// Nobody is refused for what is typed here.
    fn refused(&self, _: &Model, call: &Call, code: Code) -> Vec<Finding> {
        let is_for_words = matches!(code, Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition);
        let what = || Finding::new(LISTS, format!("{} by {} was refused: {code:?}", call.op, call.actor));
        is_for_words.then(what).into_iter().collect()
    }

    fn check(&self, model: &Model, call: &Call, rows: &[String]) -> Vec<Finding> {
        let handles = model.state::<Handles>();
        let mut there = There::default();
        for account in handles.people() {
            let fits = names(model, call, account).into_iter();
            let fits = fits.map(|names| names.is_some_and(|(handle, name)| self.fit(&handle, &name) > 0));
            let fits: Vec<bool> = fits.collect();
            let ever = fits.contains(&true) && !always_hidden(model, call, &call.actor, account);
            let always = fits.iter().all(|fits| *fits) && !ever_hidden(model, call, &call.actor, account);
            there.put(account, ever, always);
        }
        let ids: Vec<&str> = rows.iter().map(String::as_str).collect();
        let mut findings = there.check(call, &ids);
        let hidden = ids.iter().filter(|id| always_hidden(model, call, &call.actor, id));
        findings.extend(hidden.map(|id| Finding::new(HIDDEN, format!("{} finds {id} by {}", call.actor, call.op))));
        let places: Option<Vec<_>> = ids.iter().map(|id| self.place(model, call, id)).collect();
        if places.is_some_and(|places| !places.is_sorted()) {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {ids:?}", call.op, call.actor)));
        }
        findings
    }
}
