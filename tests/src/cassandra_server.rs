use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kith_authority::Authority;
use kith_tls::{ClientFiles, ClientTls};
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::unprepared::Statement;

use crate::server::{Kind, Place, Ready, Server};
use crate::{jars, kafka_server, wait};

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

/// A node that is reached over TLS with a client's certificate only, and lets roles do what they were granted. Both
/// certificates are of `authority`.
pub async fn start_secured(authority: Arc<Authority>) -> Result<Server> {
    let mut kind = kind(PORT);
    kind.prepare = Box::new(move |place| {
        let data = place.folder.join("data");
        // The files of TLS are named from there.
        std::fs::create_dir(&data)?;
        jars::write_config("cassandra/cassandra.yaml", place, PORT, &data)?;
        jars::append_config("cassandra/secured.yaml", "cassandra.yaml", place, PORT, &data)?;
        kafka_server::node_files(place, &authority)
    });
    Server::start(kind).await
}

/// Executes statements as the first superuser, with a certificate. Waits until the node has made that superuser.
pub async fn execute(server: &Server, files: ClientFiles, statements: &[String]) -> Result<()> {
    let tls = ClientTls::open(files)?;
    let session = wait::until("the superuser is there", READY_WITHIN, async || {
        let builder = SessionBuilder::new().known_node(server.socket(PORT).to_string());
        let builder = builder.user("cassandra", "cassandra").tls_context(Some(tls.config()));
        Ok(builder.build().await.ok())
    });
    let session = session.await?;
    for statement in statements {
        let mut statement = Statement::new(statement.as_str());
        statement.set_request_timeout(Some(READY_WITHIN));
        let text = statement.contents.clone();
        session.query_unpaged(statement, ()).await.with_context(|| text)?;
    }
    Ok(())
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
