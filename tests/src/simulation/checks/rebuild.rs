//! The live tables equal a fresh fold of the log, by digest, and a fresh fold appends nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use kith_fold::engine::{self, FoldMetrics, Pace, Ports};
use kith_fold::{Group, State, Token};
use kith_log::{Position, headers};
use kith_runtime::Runtime;
use tokio::time::Instant;

use super::Finding;
use crate::digests;
use crate::simulated::{Gate, SimulatedTables};
use crate::simulation::plan::Plan;
use crate::simulation::world::World;

const REBUILD: &str = "rebuild";
/// A process of its own to the log.
const SLOT: usize = 1_000;

type Digests = BTreeMap<String, (u64, [u8; 32])>;

pub async fn rebuild(world: &World, groups: Vec<Group>, live: &[State]) -> Result<Vec<Finding>> {
    let before = world.log.ends();
    let now_ms = world.runtime.now_ms();
    let ports = Ports {
        runtime: Runtime::simulated(world.plan.seed, now_ms),
        log: world.log.of_process(SLOT, Gate::new()),
        tables: SimulatedTables::new(),
        metrics: FoldMetrics::default(),
        pace: Pace::default(),
    };
    let ports = match world.planted {
        Some(planted) => planted.rebuild_ports(ports),
        None => ports,
    };
    // With the planted defects of folds, if any: they must show in answers, not as a difference between tables.
    anyhow::ensure!(live.len() == world.groups_of(world.goal()).len(), "a group serves nothing");
    let mut findings = Vec::new();
    for (group, live) in groups.into_iter().zip(live) {
        let anew = fold_anew(&ports, group.clone(), &world.plan).await?;
        let live = digests_of(&group, live, &world.plan, now_ms).await?;
        let differ = anew.iter().filter(|(table, digest)| live.get(*table) != Some(digest));
        findings.extend(differ.map(|(table, _)| {
            Finding::new(REBUILD, format!("{}.{table} differs from a fresh fold of the log", group.keyspace()))
        }));
    }
    for record in world.log.dump() {
        let before = before.get(&record.position.partition).copied().unwrap_or(0);
        if record.position.offset >= before {
            let kind = record.header(headers::TYPE).unwrap_or_default().to_owned();
            let key = String::from_utf8_lossy(&record.key).into_owned();
            let what = format!("a fold anew appended {kind} under {key} at {}", record.position);
            findings.push(Finding::new(REBUILD, what));
        }
    }
    Ok(findings)
}

/// Under a name of its own, so that it takes nothing from those at work.
async fn fold_anew(ports: &Ports, group: Group, plan: &Plan) -> Result<Digests> {
    let again = Group { generation: 1_000, ..group.clone() };
    engine::create(ports, &again).await?;
    let running = engine::start(ports, again, true).await?;
    let mut token = Token::default();
    for &topic in &group.topics {
        for (index, head) in (0..).zip(ports.log.heads(topic).await?) {
            let partition = kith_log::LogPartition { topic, index };
            head.checked_sub(1).into_iter().for_each(|offset| token.add(Position { partition, offset }));
        }
    }
    let until = Instant::now() + Plan::HEALED_WITHIN;
    running.state.at_least(&token, until).await?;
    // Enough time for forbidden appends.
    ports.runtime.sleep(std::time::Duration::from_millis(200)).await;
    let digests = digests_of(&group, &running.state, plan, ports.runtime.now_ms()).await;
    running.end().await;
    digests
}

async fn digests_of(group: &Group, state: &State, plan: &Plan, now_ms: i64) -> Result<Digests> {
    digests::of_group(group, state, plan.push_threshold, plan.partitions, now_ms).await
}
