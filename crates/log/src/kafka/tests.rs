//! Against the library's own mock of a broker: what a real one does only when it is sick. The contract itself is kept
//! against a real broker, in the workspace's `tests`.

use super::*;
use crate::{RecordReader, topics};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// What the mock gives a topic.
const PARTITIONS: PartitionIndex = 4;

type Broker = MockCluster<'static, DefaultProducerContext>;

fn connected() -> (Broker, Arc<KafkaLog>) {
    let broker = MockCluster::new(1).unwrap();
    broker.create_topic(topics::POSTS.name, i32::from(PARTITIONS), 1).unwrap();
    let settings = KafkaSettings {
        bootstrap: broker.bootstrap_servers(),
        client_id: "test".to_owned(),
        replication_factor: 1,
        forgetting_ms: -1,
        production: false,
        access: None,
    };
    (broker, KafkaLog::connect(settings, PARTITIONS, Runtime::system()).unwrap())
}

fn record(n: u8) -> NewRecord {
    NewRecord { topic: topics::POSTS, key: "one".to_owned(), headers: vec![], value: vec![n].into() }
}

async fn values(reader: &mut RecordReader, count: usize) -> Vec<u8> {
    let mut values = Vec::new();
    while values.len() < count {
        values.extend(reader.next().await.unwrap().unwrap().iter().map(|record| record.value[0]));
    }
    values
}

#[tokio::test]
async fn appends_and_reads() {
    let (_broker, log) = connected();
    let first = log.append(record(0)).await.unwrap();
    let mut reader = log.read(first.partition, first.offset).await.unwrap();
    for n in 1..10 {
        let position = log.append(record(n)).await.unwrap();
        assert_eq!(position.offset, first.offset + u64::from(n));
    }
    assert_eq!(values(&mut reader, 10).await, (0..10).collect::<Vec<_>>());
    assert_eq!(log.heads(topics::POSTS).await.unwrap().iter().sum::<u64>(), 10);
    log.close(Duration::from_secs(5)).await;
    assert!(matches!(log.append(record(1)).await, Err(AppendError::Refused(_))));
    assert!(reader.next().await.is_none());
}

/// A sequence number that the broker does not expect is fatal to the producer that sent it.
#[tokio::test]
async fn a_producer_beyond_repair_is_replaced() {
    let (broker, log) = connected();
    log.append(record(0)).await.unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    broker.request_errors(RDKafkaApiKey::Produce, &[error]);
    let sick = log.producer.current().unwrap();
    let answer = log.append(record(1)).await;
    assert!(matches!(answer, Err(AppendError::Unknown(_))), "{answer:?}");
    assert!(!Arc::ptr_eq(&sick, &log.producer.current().unwrap()));
    log.append(record(2)).await.unwrap();
}

#[tokio::test]
async fn an_append_that_may_have_arrived_is_unknown_until_the_broker_is_back() {
    let (broker, log) = connected();
    let first = log.append(record(0)).await.unwrap();
    broker.broker_down(1).unwrap();
    let answer = log.append(record(1)).await;
    assert!(matches!(answer, Err(AppendError::Unknown(_))), "{answer:?}");
    assert!(matches!(log.heads(topics::POSTS).await, Err(LogError::Unavailable(_))));
    broker.broker_up(1).unwrap();
    log.append(record(2)).await.unwrap();
    let mut reader = log.read(first.partition, first.offset).await.unwrap();
    let last = loop {
        let value = values(&mut reader, 1).await;
        if value.contains(&2) {
            break value;
        }
    };
    assert_eq!(last.last(), Some(&2));
}

#[tokio::test]
async fn an_append_beyond_the_bound_is_turned_away_at_once() {
    let (broker, log) = connected();
    log.append(record(0)).await.unwrap();
    broker.broker_down(1).unwrap();
    let big = |_| log.append(NewRecord { value: vec![7; 60_000].into(), ..record(0) });
    let answers = futures::future::join_all((0..2 * settings::IN_FLIGHT_BYTES / 60_000).map(big)).await;
    let full = answers.iter().filter(|answer| matches!(answer, Err(AppendError::Full))).count();
    let unknown = answers.iter().filter(|answer| matches!(answer, Err(AppendError::Unknown(_)))).count();
    assert_eq!(full + unknown, answers.len());
    assert_eq!(unknown, settings::IN_FLIGHT_BYTES / 60_003, "as many as the bound lets in");
    broker.broker_up(1).unwrap();
    assert!(!matches!(log.append(record(0)).await, Err(AppendError::Full)), "the bound is given back");
}
