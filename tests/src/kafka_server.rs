use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_log::PartitionIndex;
use kith_log::kafka::{KafkaLog, KafkaSettings};
use kith_runtime::Runtime;

use crate::jars;
use crate::server::{Kind, Place, Ready, Server};

/// The port for clients.
pub const PORT: u16 = 9092;
/// Where a broker behind a proxy listens.
pub const PORT_BEHIND: u16 = 9192;

const CONTROLLER_PORT: u16 = 9093;
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

/// The log on a broker of the harness, with this many partitions per topic.
pub fn log(kafka: &Server, partitions: PartitionIndex) -> Result<Arc<KafkaLog>> {
    let settings = KafkaSettings {
        bootstrap: kafka.socket(PORT).to_string(),
        client_id: "kith-tests".to_owned(),
        replication_factor: 1,
        production: false,
        extra: Vec::new(),
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
