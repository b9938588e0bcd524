//! Which generations of a group's tables there are, and which one serves: a function of what operators decided.

use std::collections::BTreeMap;

use kith_proto::ops::v1::ops_event::Event;
use kith_proto::ops::v1::{GenerationDropped, GenerationPromoted, RebuildStarted};
use kith_proto::time;
use kith_runtime::UnixMillis;

use crate::rules::FIRST_EVENTS;

/// The generations of one fold group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations {
    live: u32,
    previous: Option<u32>,
    /// Those with tables.
    all: BTreeMap<u32, Generation>,
    /// Those whose tables are to be deleted, and since when.
    dropped: BTreeMap<u32, UnixMillis>,
    /// The highest number ever used.
    newest: u32,
    /// Why the folds are paused, if they are.
    paused: Option<String>,
    /// The version of the events that operators opened, for all groups.
    events: u32,
}

/// What a release brings to a fold group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// [`crate::Group::folds_version`].
    pub folds_version: u32,
    /// [`crate::Group::reads`].
    pub reads: u32,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Since when it is folded; 0: from the first day.
    pub since_ms: UnixMillis,
    /// [`crate::Group::folds_version`] of the release that fills it.
    pub folds_version: u32,
    /// Until when it served, if it served before.
    pub served_until_ms: Option<UnixMillis>,
    /// The id of the request that started it; empty for the first.
    request_id: String,
}

impl Generation {
    fn new(since_ms: UnixMillis, folds_version: u32, request_id: String) -> Self {
        Self { since_ms, folds_version, served_until_ms: None, request_id }
    }
}

/// What is missing before processes of a release answer callers: an operator's decision, for the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// To begin a generation that this release fills.
    Rebuild,
    /// To promote this generation, which this release fills.
    Promotion(u32),
    /// No decision helps: this version of the events is open, which only a later release reads.
    LaterRelease(u32),
}

/// Why an operator's command is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    #[error("generation {0} has no tables")]
    Unknown(u32),
    #[error("generation {0} stands beside the live one already: promote or drop it first")]
    Filling(u32),
    #[error("generation {0} serves")]
    Serves(u32),
    #[error("no generation served before this one, or its tables are gone")]
    NoPrevious,
    #[error("version {0} of the events is open, which this release does not read")]
    NotRead(u32),
    #[error("generation {number} of {group} is of another release: {advice}")]
    Foreign { group: String, number: u32, advice: &'static str },
}

impl Default for Generations {
    fn default() -> Self {
        let all = BTreeMap::from([(Generations::FIRST, Generation::new(0, Generations::FIRST_FOLDS, String::new()))]);
        let dropped = BTreeMap::new();
        Self {
            live: Generations::FIRST,
            previous: None,
            all,
            dropped,
            newest: Generations::FIRST,
            paused: None,
            events: FIRST_EVENTS,
        }
    }
}

impl Generations {
    /// The generation that every group has from its first day.
    pub const FIRST: u32 = 1;
    /// The version of the folds that fill it, unless something else was decided.
    pub const FIRST_FOLDS: u32 = 1;

    pub fn live(&self) -> u32 {
        self.live
    }

    /// The target of a rollback.
    pub fn previous(&self) -> Option<u32> {
        self.previous
    }

    /// Those with tables.
    pub fn all(&self) -> &BTreeMap<u32, Generation> {
        &self.all
    }

    /// Those whose tables are to be deleted, and since when.
    pub fn dropped(&self) -> &BTreeMap<u32, UnixMillis> {
        &self.dropped
    }

    /// The one that is neither live nor the previous one, if there is one.
    pub fn beside(&self) -> Option<u32> {
        self.all.keys().copied().find(|number| *number != self.live && Some(*number) != self.previous)
    }

    /// Whether processes of the build fold the generation: other folds would write other rows at the same places, and a build
    /// that does not read the open events would fold some wrongly.
    pub fn is_of(&self, number: u32, build: Build) -> bool {
        self.events <= build.reads && self.has_folds(number, build.folds_version)
    }

    /// Whether the generation was begun by these folds, whoever may fold it now.
    pub fn has_folds(&self, number: u32, folds_version: u32) -> bool {
        self.all.get(&number).is_some_and(|generation| generation.folds_version == folds_version)
    }

    /// The generation from which processes of the build answer: the live one if it is theirs, else the previous one if that is
    /// theirs (it is still folded, for a rollback), else none.
    pub fn to_serve(&self, build: Build) -> Option<u32> {
        [Some(self.live), self.previous].into_iter().flatten().find(|number| self.is_of(*number, build))
    }

    /// The newest generation that processes of the build fold.
    pub fn newest_of(&self, build: Build) -> Option<u32> {
        self.all.keys().copied().rfind(|number| self.is_of(*number, build))
    }

    /// What is missing before processes of the build answer callers; `None`: they answer.
    pub fn waits_for(&self, build: Build) -> Option<WaitsFor> {
        if self.events > build.reads {
            return Some(WaitsFor::LaterRelease(self.events));
        }
        if self.to_serve(build).is_some() {
            return None;
        }
        Some(self.newest_of(build).map_or(WaitsFor::Rebuild, WaitsFor::Promotion))
    }

    /// Whether a release with these folds may open later events: no generation of the group is of other folds. Processes that
    /// fold such a one, or would after a rollback, may not read those events.
    pub fn may_open_events(&self, group: &str, folds_version: u32) -> Result<(), GenerationError> {
        let Some(number) = self.foreign_to(folds_version) else { return Ok(()) };
        let is_live = number == self.live;
        let advice = if is_live { "promote one of this release first" } else { "drop it if nobody needs it" };
        Err(GenerationError::Foreign { group: group.to_owned(), number, advice })
    }

    /// A generation of other folds than these, if there is one.
    pub fn foreign_to(&self, folds_version: u32) -> Option<u32> {
        self.all.keys().copied().find(|number| !self.has_folds(*number, folds_version))
    }

    /// With that version of the events open. Never a lower one than before.
    #[must_use]
    pub fn with_events(self, version: u32) -> Self {
        Self { events: self.events.max(version), ..self }
    }

    /// Why the folds are paused, if they are.
    pub fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    /// Total; an event that does not fit changes nothing, nor does a repeat.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RebuildStarted(event) if event.generation == Generations::FIRST && self.is_untouched() => {
                self.all.insert(Generations::FIRST, Generation::new(0, event.folds_version, String::new()));
            }
            Event::RebuildStarted(event) if event.generation > self.newest && self.beside().is_none() => {
                self.newest = event.generation;
                let since_ms = time::unix_ms(event.start_time.as_ref());
                let folds_version = event.folds_version.max(Generations::FIRST_FOLDS);
                let request_id = event.request_id.clone();
                self.all.insert(event.generation, Generation::new(since_ms, folds_version, request_id));
            }
            // Based on the generation that served then: of two racing events the first in the log wins.
            Event::GenerationPromoted(event)
                if event.previous_generation == self.live && self.may_serve(event.generation).is_ok() =>
            {
                let now_ms = time::unix_ms(event.promote_time.as_ref());
                self.previous = Some(self.live);
                self.serves(self.live, Some(now_ms));
                self.live = event.generation;
                self.serves(self.live, None);
            }
            Event::GenerationDropped(event) if self.may_serve(event.generation).is_ok() => {
                self.all.remove(&event.generation);
                self.dropped.insert(event.generation, time::unix_ms(event.drop_time.as_ref()));
                self.previous = self.previous.filter(|previous| *previous != event.generation);
            }
            Event::ProjectionPaused(event) => self.paused = Some(event.note.clone()),
            Event::ProjectionResumed(_) => self.paused = None,
            _ => {}
        }
    }

    /// The event by which a release with these folds takes the first generation, before it makes the tables. `None`: another
    /// decision came first, or the folds are the first ones, which need no event.
    pub fn found(&self, group: &str, folds_version: u32, now_ms: UnixMillis) -> Option<Event> {
        (self.is_untouched() && folds_version != Generations::FIRST_FOLDS)
            .then(|| started(group, Generations::FIRST, "", folds_version, now_ms))
    }

    /// The number that the next new generation gets.
    pub fn next(&self) -> u32 {
        self.newest + 1
    }

    /// The generation that an earlier copy of the request started, if any.
    pub fn started_by(&self, request_id: &str) -> Option<u32> {
        let of_request = |found: &Generation| !found.request_id.is_empty() && found.request_id == request_id;
        self.all.iter().find(|(_, found)| of_request(found)).map(|(number, _)| *number)
    }

    pub fn start_rebuild(
        &self,
        group: &str,
        request_id: &str,
        build: Build,
        now_ms: UnixMillis,
    ) -> Result<Event, GenerationError> {
        match self.beside() {
            Some(beside) => Err(GenerationError::Filling(beside)),
            None if self.events > build.reads => Err(GenerationError::NotRead(self.events)),
            None => Ok(started(group, self.next(), request_id, build.folds_version, now_ms)),
        }
    }

    pub fn promote(&self, group: &str, generation: u32, now_ms: UnixMillis) -> Result<Event, GenerationError> {
        self.may_serve(generation)?;
        Ok(Event::GenerationPromoted(GenerationPromoted {
            service: group.to_owned(),
            generation,
            previous_generation: self.live,
            promote_time: Some(time::timestamp(now_ms)),
        }))
    }

    pub fn roll_back(&self, group: &str, now_ms: UnixMillis) -> Result<Event, GenerationError> {
        self.promote(group, self.previous.ok_or(GenerationError::NoPrevious)?, now_ms)
    }

    pub fn drop(&self, group: &str, generation: u32, now_ms: UnixMillis) -> Result<Event, GenerationError> {
        self.may_serve(generation)?;
        let drop_time = Some(time::timestamp(now_ms));
        Ok(Event::GenerationDropped(GenerationDropped { service: group.to_owned(), generation, drop_time }))
    }

    /// Nothing has been decided of its generations.
    fn is_untouched(&self) -> bool {
        self.newest == Generations::FIRST && self.has_folds(Generations::FIRST, Generations::FIRST_FOLDS)
    }

    /// `until_ms`: not from then on.
    fn serves(&mut self, number: u32, until_ms: Option<UnixMillis>) {
        if let Some(generation) = self.all.get_mut(&number) {
            generation.served_until_ms = until_ms;
        }
    }

    /// Has tables, and does not serve yet.
    fn may_serve(&self, generation: u32) -> Result<(), GenerationError> {
        match self.all.contains_key(&generation) {
            true if generation == self.live => Err(GenerationError::Serves(generation)),
            true => Ok(()),
            false => Err(GenerationError::Unknown(generation)),
        }
    }
}

fn started(group: &str, generation: u32, request_id: &str, folds_version: u32, now_ms: UnixMillis) -> Event {
    Event::RebuildStarted(RebuildStarted {
        service: group.to_owned(),
        generation,
        start_time: Some(time::timestamp(now_ms)),
        folds_version,
        request_id: request_id.to_owned(),
    })
}

#[cfg(test)]
mod tests;
