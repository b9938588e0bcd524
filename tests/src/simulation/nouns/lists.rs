//! Checks of every list: pages, no duplicates, nothing extra, nothing missing, and the order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use tonic::{Code, Status};

use crate::simulation::callers::Callers;
use crate::simulation::checks::{Finding, LISTS, PAGING};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::operation::{Ask, Op, Operation, Reply, op};

/// The most that a page holds.
pub const WHOLE: i32 = 100;

/// Something that is listed in pages.
#[async_trait]
pub trait List: Debug + Send + Sync + 'static {
    type Row: Debug + Clone + PartialEq + Send + Sync + 'static;

    const SERVICE: &'static str;

    /// One page; `ask.page_token` says which.
    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<Self::Row>>, Status>;

    /// What is wrong with all that a walk through the pages gave.
    fn check(&self, model: &Model, call: &Call, rows: &[Self::Row]) -> Vec<Finding>;

    /// What is wrong with a definite no.
    fn refused(&self, _model: &Model, _call: &Call, _code: Code) -> Vec<Finding> {
        Vec::new()
    }
}

/// A walk through all pages of a list, while others write.
#[derive(Debug)]
pub struct Walk<L> {
    list: L,
    page_size: i32,
}

/// All of a list, a page of `page_size` at a time.
pub fn walk<L: List>(list: L, page_size: i32) -> Op {
    op(Walk { list, page_size })
}

/// All of a list at once.
pub fn whole<L: List>(list: L) -> Op {
    walk(list, WHOLE)
}

#[async_trait]
impl<L: List> Operation for Walk<L> {
    type Answer = Vec<L::Row>;

    const SERVICE: &'static str = L::SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Vec<L::Row>>, Status> {
        self.list.page(to, ask, self.page_size).await
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Vec<L::Row>, Code>) -> Vec<Finding> {
        match told {
            Ok(rows) => self.list.check(model, call, rows),
            Err(Code::OutOfRange) => vec![Finding::new(PAGING, format!("{} does not end", call.op))],
            Err(code) => self.list.refused(model, call, code),
        }
    }

    fn append(all: &mut Vec<L::Row>, page: Vec<L::Row>) {
        all.extend(page);
    }
}

/// For each id that may be in a list: whether it was in it at all while it was read, and whether all the time.
#[derive(Debug, Default)]
pub struct There(BTreeMap<String, (bool, bool)>);

impl There {
    pub fn put(&mut self, id: &str, ever: bool, always: bool) {
        self.0.insert(id.to_owned(), (ever, always));
    }

    /// Checks `ids`: no duplicates, nothing extra, nothing missing.
    pub fn check(&self, call: &Call, ids: &[&str]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        if unique.len() < ids.len() {
            findings.push(Finding::new(PAGING, format!("{} repeats: {ids:?}", call.op)));
        }
        for id in &unique {
            if !self.0.get(*id).is_some_and(|(ever, _)| *ever) {
                findings.push(Finding::new(LISTS, format!("{} for {} has {id}", call.op, call.actor)));
            }
        }
        for (id, _) in self.0.iter().filter(|(id, (_, always))| *always && !unique.contains(id.as_str())) {
            findings.push(Finding::new(LISTS, format!("{} for {} lacks {id}", call.op, call.actor)));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::nouns::create;

    #[test]
    fn a_list_has_all_that_was_there_all_the_time_and_nothing_foreign_or_twice() {
        let (mut there, call) = (There::default(), Call::of(create("ada")));
        there.put("always", true, true);
        there.put("at times", true, false);
        there.put("hidden", false, false);
        for (ids, wrong) in [
            (&["always"][..], 0),
            (&["at times", "always"], 0),
            (&["at times"], 1),
            (&["always", "hidden"], 1),
            (&["always", "unheard of"], 1),
            (&["always", "always"], 1),
        ] {
            assert_eq!(there.check(&call, ids).len(), wrong, "{ids:?}");
        }
    }
}
