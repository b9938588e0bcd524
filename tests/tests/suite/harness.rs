//! The harness itself, against real servers. It prints what they cost: see with `--nocapture`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kith_tests::process::Process;
use kith_tests::server::{Kind, Place, Ready, Server};
use kith_tests::wait::until;
use kith_tests::{cassandra_server, kafka_server, servers};

#[tokio::test]
async fn a_broker_comes_back_after_a_kill() {
    let Some(mut kafka) = servers::kafka().await else { return };
    comes_back("kafka", &mut kafka, kafka_server::PORT).await;
}

#[tokio::test]
async fn a_cql_server_comes_back_after_a_kill() {
    let Some(mut cassandra) = servers::cassandra().await else { return };
    comes_back("cassandra", &mut cassandra, cassandra_server::PORT).await;
}

async fn comes_back(name: &str, server: &mut Server, port: u16) {
    let address = server.socket(port);
    server.kill_9().unwrap();
    assert!(!server.is_ready().await && server.process().is_err());
    let started = Instant::now();
    server.restart().await.unwrap();
    let resident_mb = server.process().unwrap().resident_bytes().unwrap() / 1_000_000;
    println!("{name}: {address} ready {:?} after kill -9, {resident_mb} MB resident", started.elapsed());
    assert_eq!(server.socket(port), address);
}

/// What a test that failed has left must not spoil the next.
#[tokio::test]
async fn a_paused_or_killed_server_is_revived_for_the_next_test() {
    for paused in [true, false] {
        let Some(mut kafka) = servers::kafka().await else { return };
        if paused {
            kafka.pause().await.unwrap()
        } else {
            kafka.kill_9().unwrap()
        }
        let address = kafka.address();
        drop(kafka);
        let mut others = Vec::new();
        let mut kafka = loop {
            let next = servers::kafka().await.unwrap();
            if next.address() == address {
                break next;
            }
            others.push(next);
        };
        assert!(!kafka.process().unwrap().is_paused().unwrap());
        assert!(kafka.is_ready().await);
    }
}

#[tokio::test]
async fn a_wiped_broker_has_no_topics() {
    let Some(mut kafka) = servers::kafka().await else { return };
    std::fs::create_dir(kafka.folder().join("data/left-0")).unwrap();
    let started = Instant::now();
    kafka.wipe().await.unwrap();
    println!("kafka: wiped and ready within {:?}", started.elapsed());
    assert!(!kafka.folder().join("data/left-0").exists());
}

/// A run that is killed with -9 takes along what it has started.
#[tokio::test]
async fn nothing_outlives_a_killed_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "harness::a_run_to_be_killed", "--ignored", "--nocapture"]);
    let mut run = Process::start("a run", command, &folder.path().join("output")).unwrap();
    let read = async || Ok(told(&run.output()?));
    let (pid, files) = until("it tells what it started", Duration::from_secs(30), read).await.unwrap();
    let process = format!("/proc/{pid}");
    assert!(Path::new(&process).exists() && Path::new(&files).exists());
    run.kill_9().unwrap();
    let is_gone = async || Ok((!Path::new(&process).exists() && !Path::new(&files).exists()).then_some(()));
    until("all is gone", Duration::from_secs(30), is_gone).await.unwrap();
}

fn told(output: &str) -> Option<(String, String)> {
    let (_, rest) = output.split_once("started ")?;
    let (line, _) = rest.split_once('\n')?;
    let (pid, files) = line.split_once(' ')?;
    Some((pid.to_owned(), files.to_owned()))
}

#[tokio::test]
#[ignore = "only the test above runs it, and kills it"]
async fn a_run_to_be_killed() {
    let sleeper = Kind {
        name: "a sleeper".into(),
        ports: vec![PORT],
        ready: Ready::Accepts { port: PORT },
        ready_within: Duration::from_secs(30),
        prepare: Box::new(listen_in_its_place),
        command: Box::new(|_| {
            let mut command = Command::new("sleep");
            command.arg("600");
            Ok(command)
        }),
    };
    let mut server = Server::start(sleeper).await.unwrap();
    println!("started {} {}", server.process().unwrap().pid(), server.folder().display());
    std::future::pending().await
}

const PORT: u16 = 7400;

fn listen_in_its_place(place: &Place) -> anyhow::Result<()> {
    std::mem::forget(TcpListener::bind((place.address, PORT))?);
    Ok(())
}
