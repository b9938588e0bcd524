//! The clients' shared knowledge, from answers and from each other. Pure.

use std::collections::BTreeMap;

use crate::simulated::Chance;

/// Something that a command created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thing {
    pub id: String,
    /// Who made it, or is in it.
    pub by: Vec<String>,
    /// Its subject; empty: none.
    pub on: String,
    /// A handle or the like.
    pub name: String,
    /// The last number known of it: its revision, how many messages it has.
    pub number: u64,
}

/// Things, by the noun that they are of.
#[derive(Debug, Clone, Default)]
pub struct Board(BTreeMap<&'static str, Vec<Thing>>);

impl Board {
    pub fn all(&self, noun: &str) -> &[Thing] {
        self.0.get(noun).map_or(&[], Vec::as_slice)
    }

    /// Adds what is not known yet.
    pub fn add(&mut self, noun: &'static str, thing: Thing) {
        let all = self.0.entry(noun).or_default();
        if !all.iter().any(|known| known.id == thing.id) {
            all.push(thing);
        }
    }

    pub fn change(&mut self, noun: &str, id: &str, change: impl FnOnce(&mut Thing)) {
        let all = self.0.get_mut(noun).into_iter().flatten();
        if let Some(thing) = all.into_iter().find(|thing| thing.id == id) {
            change(thing);
        }
    }
}

/// What an operation is drawn from.
pub struct Scene<'a> {
    pub board: &'a Board,
    pub actor: &'a str,
    /// Of this step alone.
    pub step: &'a str,
    pub chance: &'a Chance,
}

impl<'a> Scene<'a> {
    pub fn one(&self, noun: &str) -> Option<&'a Thing> {
        self.chance.pick(self.board.all(noun))
    }

    /// One that the actor made, or is in.
    pub fn own(&self, noun: &str) -> Option<&'a Thing> {
        let own = self.board.all(noun).iter().filter(|thing| thing.by.iter().any(|who| who == self.actor));
        let own: Vec<&Thing> = own.collect();
        self.chance.pick(&own).copied()
    }

    /// A unique text.
    pub fn text(&self) -> String {
        format!("text {}", self.step)
    }
}
