//! Rules that a CQL server and its keyspaces must satisfy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kith_finding::{Finding, Weight};

use super::declared::{Columns, GC_GRACE_SECONDS, columns};
use crate::{StoreError, Table};

/// Fewer copies lose acknowledged data with one disk.
const PRODUCTION_REPLICAS: usize = 3;
/// A larger difference to the server's clock makes times in events incomparable.
const MAX_SKEW_MS: i64 = 5_000;

/// What the settings ask for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub replicas: usize,
    pub production: bool,
}

/// A keyspace as the server has it.
#[derive(Default)]
pub(super) struct Found {
    /// `None`: there is no such keyspace.
    pub replication: Option<HashMap<String, String>>,
    pub tables: BTreeMap<String, Columns>,
    /// Per table, how many seconds its rows live (0: for ever), and its tombstones stay.
    pub lifetimes: BTreeMap<String, (i32, i32)>,
}

/// The first wrong one, as the error of opening the tables.
pub(super) fn refuse(findings: Vec<Finding>) -> Result<(), StoreError> {
    match findings.into_iter().find(|finding| finding.weight == Weight::Wrong) {
        Some(wrong) => Err(StoreError::Contract(wrong.to_string())),
        None => Ok(()),
    }
}

impl Wanted {
    pub fn judge_keyspace(
        self,
        keyspace: &str,
        datacenter: &str,
        tables: &[&'static Table],
        found: &Found,
    ) -> Vec<Finding> {
        let Some(replication) = &found.replication else {
            let fix = "run `kith init`, which makes it";
            return vec![Finding::judged(keyspace, "keyspace", ("missing", "there"), Weight::Wrong, fix)];
        };
        let mut findings = vec![self.judge_replication(keyspace, datacenter, replication)];
        for table in tables {
            findings.push(judge_table(keyspace, table, found.tables.get(table.name)));
            let lifetimes = found.lifetimes.get(table.name);
            findings.extend(lifetimes.into_iter().flat_map(|of| judge_lifetimes(keyspace, table.name, *of)));
        }
        findings
    }

    fn judge_replication(self, keyspace: &str, datacenter: &str, replication: &HashMap<String, String>) -> Finding {
        let name = "replication";
        let fix = format!(
            "ALTER KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': {}}}; \
             then a full repair",
            self.replicas
        );
        let by_datacenter = replication.get("class").is_some_and(|c| c.ends_with("NetworkTopologyStrategy"));
        let Some(replicas) = replication.get(datacenter).filter(|_| by_datacenter) else {
            let class = replication.get("class").map_or("unknown", |class| class.rsplit('.').next().unwrap_or(class));
            let wanted = format!("NetworkTopologyStrategy with {datacenter} by name");
            return Finding::judged(keyspace, name, (class, wanted), Weight::Wrong, fix);
        };
        // ScyllaDB may name the racks instead.
        let replicas = replicas.parse().unwrap_or_else(|_| replicas.split(',').count());
        let weight = match replicas {
            few if self.production && few < PRODUCTION_REPLICAS => Weight::Wrong,
            few if few < self.replicas => Weight::Doubtful,
            _ => Weight::Sound,
        };
        let wanted = format!("at least {} in {datacenter}", self.replicas);
        Finding::judged(keyspace, name, (format!("{replicas} in {datacenter}"), wanted), weight, fix)
    }

    /// A server that syncs its commit log only periodically may lose acknowledged rows: refused in production, doubtful
    /// elsewhere. A server that does not report its setting is accepted.
    pub fn judge_commit_log(self, told: Option<&str>) -> Finding {
        let weight = match told {
            Some(told) if told.contains("periodic") && self.production => Weight::Wrong,
            Some(told) if told.contains("periodic") => Weight::Doubtful,
            _ => Weight::Sound,
        };
        let fix = "set commitlog_sync: batch (or group) in every node's yaml, and restart it: with periodic a node that \
                   dies loses rows that it acknowledged";
        Finding::judged("CQL server", "commitlog_sync", (told.unwrap_or("not told"), "batch or group"), weight, fix)
    }

    pub fn judge_nodes(self, datacenter: &str, nodes: usize) -> Finding {
        let weight = if nodes < self.replicas { Weight::Wrong } else { Weight::Sound };
        let fix = "add nodes, or set a lower `replication_factor`, which loses more when one is lost";
        let wanted = format!("at least {}", self.replicas);
        Finding::judged("CQL server", format!("nodes in {datacenter}"), (nodes, wanted), weight, fix)
    }
}

pub(super) fn judge_table(keyspace: &str, table: &Table, there: Option<&Columns>) -> Finding {
    let name = format!("table {}", table.name);
    let Some(there) = there else {
        let fix = "run `kith init`, which makes it";
        return Finding::judged(keyspace, name, ("missing", "there"), Weight::Wrong, fix);
    };
    let declared = columns(table);
    let differ = |column: &&String| there.get(*column) != declared.get(*column);
    let differing: BTreeSet<_> = there.keys().chain(declared.keys()).filter(differ).collect();
    if differing.is_empty() {
        return Finding::judged(keyspace, name, ("as declared", "as declared"), Weight::Sound, "");
    }
    let fix = "run the release that made it, or rebuild: tables are disposable, the log makes them again";
    Finding::judged(keyspace, name, (format!("other in columns {differing:?}"), "as declared"), Weight::Wrong, fix)
}

fn judge_lifetimes(keyspace: &str, table: &str, (ttl, grace): (i32, i32)) -> [Finding; 2] {
    let alter = |name: &str, value: i32| format!("ALTER TABLE {keyspace}.{table} WITH {name} = {value}");
    let kept = if grace < GC_GRACE_SECONDS { Weight::Doubtful } else { Weight::Sound };
    let expiry = "default_time_to_live";
    let (name, wanted) = ("gc_grace_seconds", format!("at least {GC_GRACE_SECONDS}"));
    [
        Finding::compared(keyspace, format!("{table} {expiry}"), (ttl, 0), Weight::Wrong, alter(expiry, 0)),
        Finding::judged(keyspace, format!("{table} {name}"), (grace, wanted), kept, alter(name, GC_GRACE_SECONDS)),
    ]
}

/// Whether a role may read and write a keyspace. Nothing if the server says nothing of its rights.
pub(super) fn judge_rights(keyspace: &str, role: &str, given: &[(String, String)]) -> Vec<Finding> {
    if given.is_empty() {
        return Vec::new();
    }
    let resources = ["<all keyspaces>".to_owned(), format!("<keyspace {keyspace}>")];
    let judge = |permission: &str| {
        let is_given = given.iter().any(|(resource, name)| resources.contains(resource) && name == permission);
        let fix = format!("GRANT {permission} ON KEYSPACE {keyspace} TO {role}");
        let (found, weight) = if is_given { ("given", Weight::Sound) } else { ("missing", Weight::Wrong) };
        Finding::judged(keyspace, format!("right {permission}"), (found, "given"), weight, fix)
    };
    ["SELECT", "MODIFY"].map(judge).into()
}

/// `ours`: the times of the request and of its answer.
pub(super) fn judge_clock(server_ms: i64, ours: (i64, i64)) -> Finding {
    let ahead_ms = match server_ms {
        late if late < ours.0 => late - ours.0,
        early if early > ours.1 => early - ours.1,
        _ => 0,
    };
    let weight = if ahead_ms.abs() > MAX_SKEW_MS { Weight::Wrong } else { Weight::Sound };
    let found = format!("{ahead_ms} ms from ours");
    let fix = "run a time service (chrony, systemd-timesyncd) here and on the server's nodes";
    Finding::judged("CQL server", "clock", (found, format!("within {MAX_SKEW_MS} ms")), weight, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{FEED, NOTES};

    const DEVELOPMENT: Wanted = Wanted { replicas: 1, production: false };
    const STRICT: Wanted = Wanted { replicas: 3, production: true };
    const DECLARED: [&Table; 2] = [&FEED, &NOTES];

    fn found() -> Found {
        let replication = [("class", "org.apache.cassandra.locator.NetworkTopologyStrategy"), ("dc1", "3")];
        Found {
            replication: Some(replication.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            tables: DECLARED.iter().map(|table| (table.name.to_owned(), columns(table))).collect(),
            lifetimes: DECLARED.iter().map(|table| (table.name.to_owned(), (0, GC_GRACE_SECONDS))).collect(),
        }
    }

    /// The names of what is not sound, with its weight.
    fn unsound(wanted: Wanted, change: impl Fn(&mut Found)) -> Vec<(String, Weight)> {
        let mut found = found();
        change(&mut found);
        let findings = wanted.judge_keyspace("k", "dc1", &[&FEED, &NOTES], &found);
        assert!(
            findings.iter().all(|finding| finding.fix.is_empty() == (finding.weight == Weight::Sound)),
            "{findings:?}"
        );
        let unsound = findings.into_iter().filter(|finding| finding.weight != Weight::Sound);
        unsound.map(|finding| (finding.name, finding.weight)).collect()
    }

    fn replicated(found: &mut Found, key: &str, value: &str) {
        found.replication.as_mut().unwrap().insert(key.to_owned(), value.to_owned());
    }

    #[test]
    fn a_sound_keyspace_gives_no_finding_that_is_not() {
        assert_eq!(unsound(STRICT, |_| {}), []);
        assert_eq!(unsound(DEVELOPMENT, |found| replicated(found, "dc1", "1")), []);
        assert_eq!(
            unsound(STRICT, |found| replicated(found, "dc1", "rack1,rack2,rack3")),
            [],
            "as ScyllaDB may say it"
        );
    }

    #[test]
    fn each_misconfiguration_is_found_by_itself() {
        type Change = fn(&mut Found);
        let changes: [(&str, Weight, Change); 9] = [
            ("keyspace", Weight::Wrong, |found| found.replication = None),
            ("replication", Weight::Wrong, |found| replicated(found, "class", "SimpleStrategy")),
            ("replication", Weight::Wrong, |found| replicated(found, "dc1", "2")),
            ("replication", Weight::Wrong, |found| _ = found.replication.as_mut().unwrap().remove("dc1")),
            ("table feed", Weight::Wrong, |found| _ = found.tables.remove("feed")),
            ("table feed", Weight::Wrong, |found| _ = found.tables.get_mut("feed").unwrap().remove("count")),
            ("table feed", Weight::Wrong, |found| {
                found.tables.get_mut("feed").unwrap().get_mut("at").unwrap().0 = "text".to_owned();
            }),
            ("feed default_time_to_live", Weight::Wrong, |found| found.lifetimes.get_mut("feed").unwrap().0 = 60),
            ("feed gc_grace_seconds", Weight::Doubtful, |found| found.lifetimes.get_mut("feed").unwrap().1 = 60),
        ];
        for (name, weight, change) in changes {
            assert_eq!(unsound(STRICT, change), [(name.to_owned(), weight)], "{name}");
        }
    }

    #[test]
    fn a_role_needs_to_read_and_write_and_the_missing_right_is_named() {
        let missing = |given: &[(&str, &str)]| -> Vec<String> {
            let given: Vec<_> = given.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            let wrong = judge_rights("k", "me", &given).into_iter().filter(|finding| finding.weight == Weight::Wrong);
            wrong.map(|finding| finding.fix).collect()
        };
        assert_eq!(missing(&[]), [""; 0], "nothing is told");
        assert_eq!(missing(&[("<all keyspaces>", "SELECT"), ("<keyspace k>", "MODIFY")]), [""; 0]);
        assert_eq!(missing(&[("<keyspace k>", "SELECT")]), ["GRANT MODIFY ON KEYSPACE k TO me"]);
        assert_eq!(missing(&[("<keyspace other>", "SELECT")]).len(), 2);
    }

    #[test]
    fn servers_are_judged_by_profile() {
        assert_eq!(DEVELOPMENT.judge_commit_log(Some("periodic")).weight, Weight::Doubtful);
        assert_eq!(STRICT.judge_commit_log(Some("periodic")).weight, Weight::Wrong);
        for sound in [Some("batch"), Some("group"), None] {
            assert_eq!(STRICT.judge_commit_log(sound).weight, Weight::Sound);
        }
        assert_eq!(STRICT.judge_nodes("dc1", 2).weight, Weight::Wrong);
        assert_eq!(DEVELOPMENT.judge_nodes("dc1", 1).weight, Weight::Sound);
    }

    #[test]
    fn a_clock_is_judged_by_what_the_wait_cannot_explain() {
        for (server_ms, weight) in [
            (50, Weight::Sound),
            (0, Weight::Sound),
            (5_100, Weight::Sound),
            (5_101, Weight::Wrong),
            (-5_001, Weight::Wrong),
        ] {
            assert_eq!(judge_clock(server_ms, (0, 100)).weight, weight, "{server_ms}");
        }
    }

    #[test]
    fn a_difference_names_its_columns() {
        let mut there = columns(&FEED);
        there.remove("count");
        there.insert("extra".to_owned(), ("text".to_owned(), "regular".to_owned(), -1, "none".to_owned()));
        let said = judge_table("k", &FEED, Some(&there)).to_string();
        assert_eq!(said, r#"k: table feed is other in columns {"count", "extra"}, not as declared"#);
    }
}
