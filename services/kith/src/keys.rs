//! `kith keys`: shows the folder of keys, and rotates one of them by a step.

use std::time::{Duration, SystemTime};

use clap::Args;
use kith_proto::time;
use kith_runtime::Runtime;
use kith_service::config::Settings;
use kith_service::keys::KeyFolder;
use kith_service::keys::rotation::{Due, KeyKind, RotationError, Step};
use serde_json::{Value, json};

use crate::flags::SettingFlags;
use crate::operator::json;

#[derive(Debug, Args)]
pub struct KeysOptions {
    /// Makes the next step of this key's rotation: signing, page-token, refresh-token or consistency-token
    #[arg(long, value_name = "KEY")]
    rotate: Option<KeyKind>,
    /// Makes the step at once (a stolen key). What the old key made is void then if it is retired
    #[arg(long, requires = "rotate")]
    early: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub settings: SettingFlags,
}

impl KeysOptions {
    pub fn run(&self, settings: &Settings) -> anyhow::Result<()> {
        let keys = KeyFolder::at(&settings.keys_dir);
        let made = match self.rotate {
            None => None,
            Some(kind) => match keys.rotate(kind, self.early, &Runtime::system()) {
                Ok(step) => Some((kind, step)),
                Err(RotationError::TooEarly { wait }) => {
                    let again = in_words(wait);
                    anyhow::bail!(
                        "too early: run it again in {again}, when every process has the step before and nothing that the old key made is in use; or with --early"
                    )
                }
                Err(error) => return Err(error.into()),
            },
        };
        let due = KeyKind::ALL.map(|kind| keys.due(kind).map(|due| (kind, due)));
        let due = due.into_iter().collect::<Result<Vec<_>, _>>()?;
        if self.json {
            let made = made.map(|(kind, step)| json!({"key": kind.name(), "step": name(step)}));
            let keys: Vec<Value> = due.iter().map(|(kind, due)| as_json(*kind, due)).collect();
            json::print(&json!({"made": made, "keys": keys}));
            return Ok(());
        }
        if let Some((kind, step)) = made {
            say!("{}: {}", kind.name(), what_was_made(step));
            say!("{}", what_to_do(kind, step));
        }
        for (kind, due) in due {
            say!("{:<17} {:<21} next step: {}", kind.name(), kind.file(), in_full(&due));
        }
        Ok(())
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Prepare => "prepare",
        Step::Switch => "switch",
        Step::Retire => "retire",
    }
}

fn what_was_made(step: Step) -> &'static str {
    match step {
        Step::Prepare => "the next key is there, and nothing is made with it yet",
        Step::Switch => "the next key has taken its place; what the one before made is still accepted",
        Step::Retire => "the key before is gone",
    }
}

fn what_to_do(kind: KeyKind, step: Step) -> String {
    match step {
        Step::Prepare => {
            "Bring the folder to all processes, restart them, and run this again after a minute or more.".to_owned()
        }
        Step::Switch => {
            let after = in_words(kind.used_for());
            format!("Bring the folder to all processes, restart them, and run this again after {after}.")
        }
        Step::Retire => "Bring the folder to all processes and restart them: the rotation is done.".to_owned(),
    }
}

/// When the step may be made.
fn time_of(due: &Due) -> Option<String> {
    let since_epoch = due.not_before?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(time::timestamp(i64::try_from(since_epoch.as_millis()).ok()?).to_string())
}

fn in_full(due: &Due) -> String {
    let from = time_of(due).map(|time| format!(" (from {time})")).unwrap_or_default();
    format!("{}{from}", name(due.step))
}

fn as_json(kind: KeyKind, due: &Due) -> Value {
    json!({"key": kind.name(), "file": kind.file(), "next_step": name(due.step), "not_before": time_of(due)})
}

/// In the largest unit of which there are two or more.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        172_800.. => format!("{} days", seconds.div_ceil(86_400)),
        7_200.. => format!("{} hours", seconds.div_ceil(3_600)),
        120.. => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} s", seconds.max(1)),
    }
}
