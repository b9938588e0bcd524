use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::jars;
use crate::server::{Kind, Place, Ready, Server};

/// The port for CQL.
pub const PORT: u16 = 9042;
/// Where a server behind a proxy listens.
pub const PORT_BEHIND: u16 = 9142;
/// The node's datacentre.
pub const DATACENTER: &str = "datacenter1";

const STORAGE_PORT: u16 = 7000;
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx768m"];
/// 7 to 10 s on an idle machine; much more beside a build.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// A Cassandra of one node without keyspaces of ours. Writes answered OK survive kill -9 (`commitlog_sync: batch`).
pub async fn start() -> Result<Server> {
    Server::start(kind(PORT)).await
}

/// The same, listening on [`PORT_BEHIND`]: clients go to [`PORT`], where a proxy is to stand.
pub async fn start_behind() -> Result<Server> {
    Server::start(kind(PORT_BEHIND)).await
}

fn kind(port: u16) -> Kind {
    let prepare =
        move |place: &Place| jars::write_config("cassandra/cassandra.yaml", place, port, &place.folder.join("data"));
    Kind {
        name: "cassandra".into(),
        ports: vec![PORT, PORT_BEHIND, STORAGE_PORT],
        ready: Ready::Accepts { port },
        ready_within: READY_WITHIN,
        prepare: Box::new(prepare),
        command: Box::new(command),
    }
}

fn command(place: &Place) -> Result<Command> {
    let mut command = jars::java("cassandra", Path::new("cassandra/jvm.options"))?;
    let agent = jars::find("cassandra", "jamm-")?;
    command.args(HEAP);
    command.arg(format!("-javaagent:{}", agent.display()));
    command.arg(format!("-Dlogback.configurationFile={}", jars::config("cassandra/logback.xml").display()));
    command.arg(format!("-Dcassandra.config=file://{}", place.folder.join("cassandra.yaml").display()));
    command.arg(format!("-Dcassandra.storagedir={}", place.folder.join("data").display()));
    command.arg("org.apache.cassandra.service.CassandraDaemon");
    Ok(command)
}
