//! `kith open-events`.

use clap::Args;
use kith_proto::ops::v1 as proto;
use serde_json::json;

use super::Desk;
use crate::operator::client::{OpsOptions, request};

#[derive(Debug, Args)]
pub struct OpenEventsOptions {
    /// Which: `kith projections` names it
    #[arg(long)]
    version: u32,
    #[command(flatten)]
    pub ops: OpsOptions,
}

impl OpenEventsOptions {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut desk = Desk::open(&self.ops, "").await?;
        let asked = proto::OpenEventsRequest { version: self.version };
        let opened = desk.client.open_events(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
        let version = opened.into_inner().version;
        match self.ops.json {
            true => say!("{}", json!({ "events_version_open": version })),
            false => say!("version {version} of the events is open; processes that do not read it have stopped"),
        }
        Ok(())
    }
}
