//! The engine with toy folds over real protos, on an embedded log and embedded tables, in one thread and on a clock of
//! its own: what ARCHITECTURE.md promises about folds, each promise broken into on purpose.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a suite of tests")]

mod appends;
mod dead_letters;
mod estimates;
mod exactly_once;
mod faulty;
mod generations;
mod groups;
mod releases;
mod stage;
mod steps;
mod toy;
mod waiting;
mod wide;
