//! The commands against a real listener.

use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use kith_fold::{Cause, Operations, Publisher};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, NewRecord, RecordId, topics};
use kith_proto::deadletters::v1::DeadLetter;
use kith_runtime::Runtime;
use kith_service::page_token::PageTokens;
use tokio_stream::wrappers::TcpListenerStream;

use crate::cli::{Cli, Command};
use crate::operator;

struct Listener {
    address: String,
    log: Arc<EmbeddedLog>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

async fn listener() -> Listener {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system();
    let log = EmbeddedLog::open(folder.path(), 4, runtime.clone()).unwrap();
    log.create_topics(&topics::ALL).await.unwrap();
    let operations = Arc::new(Operations::open(log.clone(), runtime.clone()).await.unwrap());
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    let service = crate::ops::events::service(log.clone(), operations, page_tokens, runtime.clone());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(service);
    runtime.spawn(async move { server.serve_with_incoming(TcpListenerStream::new(socket)).await.unwrap() });
    Listener { address, log, runtime, _folder: folder }
}

impl Listener {
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let cli = Cli::try_parse_from(["kith"].iter().chain(arguments).chain(&["--ops", &self.address]))?;
        match cli.command {
            Command::Events(options) => operator::events::run(options).await,
            Command::DeadLetters(options) => operator::dead_letters::run(options).await,
            _ => panic!("not one of these"),
        }
    }

    /// A letter about a record that the log holds.
    async fn letter(&self) -> String {
        let value = Bytes::from_static(b"\xff");
        let record = NewRecord { topic: topics::POSTS, key: "p".to_owned(), headers: Vec::new(), value: value.clone() };
        let at = self.log.append(record).await.unwrap();
        let letter = DeadLetter {
            origin_topic: topics::POSTS.name.to_owned(),
            origin_partition: at.partition.index.into(),
            origin_offset: at.offset,
            key: Bytes::from_static(b"p"),
            value,
            ..DeadLetter::default()
        };
        let publisher = Publisher::new(self.log.clone(), self.runtime.clone(), "posts");
        let id = RecordId([at.offset as u8 + 1; 16]);
        publisher.append(topics::DEAD_LETTERS, "k", id, &letter.into(), &Cause::default()).await.unwrap();
        id.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_they_say_and_refusals_name_their_reason() {
    let listener = listener().await;
    let (first, second) = (listener.letter().await, listener.letter().await);
    for arguments in [
        &["events", "--topic", "kith.posts.v1"][..],
        &["events", "--topic", "kith.posts.v1", "--key", "p", "--limit", "1", "--json"],
        &["events", "--topic", "kith.posts.v1", "--partition", "0", "--from-time", "2026-01-01T00:00:00Z"],
        &["dead-letters"],
        &["dead-letters", "list", "--open", "--json"],
        &["dead-letters", "show", &first],
        &["dead-letters", "show", &first, "--json"],
        &["dead-letters", "retry", &first],
        &["dead-letters", "discard", &second, "--note", "ours", "--json"],
    ] {
        listener.run(arguments).await.unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"));
    }
    assert_eq!(listener.log.heads(topics::POSTS).await.unwrap().iter().sum::<u64>(), 3, "appended once more");
    let nobody = "0".repeat(32);
    for (arguments, reason) in [
        (&["dead-letters", "retry", &*first][..], "DEAD_LETTER_STATE"),
        (&["dead-letters", "show", &nobody], "DEAD_LETTER_NOT_FOUND"),
        (&["events", "--topic", "kith.nothing.v1"], "FIELD_INVALID"),
    ] {
        let refused = listener.run(arguments).await.unwrap_err().to_string();
        assert!(refused.starts_with(reason), "{arguments:?}: {refused}");
    }
}

#[test]
fn bad_usage_is_told_before_anybody_is_asked() {
    for arguments in [
        &["events"][..],
        &["events", "--topic", "t", "--key", "k", "--partition", "1"],
        &["events", "--topic", "t", "--from-time", "yesterday"],
        &["events", "--topic", "t", "--limit", "0"],
        &["dead-letters", "discard", "id"],
        &["dead-letters", "retry"],
        &["dead-letters", "--ops", "nowhere"],
    ] {
        let refused = Cli::try_parse_from(["kith"].iter().chain(arguments)).unwrap_err();
        assert_eq!(refused.exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn every_command_has_an_example() {
    use clap::CommandFactory;
    let cli = Cli::command();
    let dead_letters = cli.find_subcommand("dead-letters").unwrap().clone();
    for command in cli.get_subcommands().chain(dead_letters.get_subcommands()) {
        let has_example = command.get_after_help().is_some_and(|help| help.to_string().contains("Example"));
        assert!(has_example, "{}", command.get_name());
    }
}
