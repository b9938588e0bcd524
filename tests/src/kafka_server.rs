use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kith_authority::Authority;
use kith_log::PartitionIndex;
use kith_log::kafka::{KafkaLog, KafkaSettings};
use kith_runtime::Runtime;
use tokio::io::AsyncWriteExt;

use crate::jars;
use crate::server::{Kind, Place, Ready, Server};

/// The port for clients.
pub const PORT: u16 = 9092;
/// Where a broker behind a proxy listens.
pub const PORT_BEHIND: u16 = 9192;

const CONTROLLER_PORT: u16 = 9093;
/// Of a secured broker, for the harness alone.
const INTERNAL_PORT: u16 = 9094;
const MAX_HEAP: &str = "-Xmx512m";
/// 3 s on an idle machine, 5 s after kill -9; much more beside a build.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A Kafka broker without topics, which is its own controller.
pub async fn start() -> Result<Server> {
    Server::start(kind(PORT)).await
}

/// The same, listening on [`PORT_BEHIND`]: clients are told [`PORT`], where a proxy is to stand.
pub async fn start_behind() -> Result<Server> {
    Server::start(kind(PORT_BEHIND)).await
}

/// A broker that is reached over TLS with SCRAM only, and lets users do what [`grant`] allows. Its certificate is of `authority`.
pub async fn start_secured(authority: Arc<Authority>) -> Result<Server> {
    let mut kind = kind(PORT);
    kind.ports.push(INTERNAL_PORT);
    kind.prepare = Box::new(move |place| {
        prepare(place, PORT)?;
        let data = place.folder.join("data");
        jars::append_config("kafka/secured.properties", "server.properties", place, PORT, &data)?;
        node_files(place, &authority)
    });
    Server::start(kind).await
}

/// What a server needs for TLS, in its folder: its certificate with the key in one file, and the authority.
pub(crate) fn node_files(place: &Place, authority: &Authority) -> Result<()> {
    let (certificate, key) = authority.issue(&place.folder, "node", &[&place.address.to_string()]);
    let both = fs::read_to_string(key)? + &fs::read_to_string(certificate)?;
    fs::write(place.folder.join("node-with-key.pem"), both)?;
    authority.write(place.folder.join("node-ca.pem"));
    Ok(())
}

/// Makes users, gives and takes rights of a secured broker, by the lines that `tests/servers/kafka/Grant.java` reads.
pub async fn grant(server: &Server, lines: &str) -> Result<()> {
    let mut command = jars::java("kafka", Path::new("kafka/jvm.options"))?;
    command.arg(jars::config("kafka/Grant.java")).arg(server.socket(INTERNAL_PORT).to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(lines.as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The log on a broker of the harness, with this many partitions per topic.
pub fn log(kafka: &Server, partitions: PartitionIndex) -> Result<Arc<KafkaLog>> {
    let settings = KafkaSettings {
        bootstrap: kafka.socket(PORT).to_string(),
        client_id: "kith-tests".to_owned(),
        replication_factor: 1,
        forgetting_ms: -1,
        production: false,
        access: None,
    };
    Ok(KafkaLog::connect(settings, partitions, Runtime::system())?)
}

fn kind(port: u16) -> Kind {
    Kind {
        name: "kafka".into(),
        ports: vec![PORT, PORT_BEHIND, CONTROLLER_PORT],
        ready: Ready::Accepts { port },
        ready_within: READY_WITHIN,
        prepare: Box::new(move |place| prepare(place, port)),
        command: Box::new(command),
    }
}

fn prepare(place: &Place, port: u16) -> Result<()> {
    let data = place.folder.join("data");
    jars::write_config("kafka/server.properties", place, port, &data)?;
    fs::create_dir(&data)?;
    for file in fs::read_dir(jars::folder("kafka")?.join("formatted"))? {
        let file = file?;
        fs::copy(file.path(), data.join(file.file_name()))?;
    }
    Ok(())
}

fn command(place: &Place) -> Result<Command> {
    let mut command = jars::java("kafka", Path::new("kafka/jvm.options"))?;
    command.arg(MAX_HEAP).arg("kafka.Kafka").arg(place.folder.join("server.properties"));
    Ok(command)
}

/// Changes a setting of a topic, with Kafka's own tool.
pub async fn alter_topic(server: &Server, topic: &str, name: &str, value: &str) -> Result<()> {
    let mut command = jars::java("kafka", Path::new("kafka/jvm.options"))?;
    command.arg("kafka.admin.ConfigCommand").arg("--bootstrap-server").arg(server.socket(PORT).to_string());
    command.args(["--alter", "--topic", topic, "--add-config", &format!("{name}={value}")]);
    let output = tokio::process::Command::from(command).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
