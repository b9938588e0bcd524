//! A process's reported positions never go back, and include the requested ones.

use std::collections::BTreeMap;

use kith_fold::Token;

use super::{Finding, WATERMARKS};
use crate::simulation::history::Call;
use crate::simulation::plain;

pub fn order(history: &[Call]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reads: Vec<(&Call, Token)> = Vec::new();
    for call in history.iter().filter(|call| call.op.is_read() && call.op.says_seen() && call.attempts == 1) {
        let Some(reply) = call.reply() else { continue };
        let Some(seen) = plain::token(&reply.token) else {
            findings.push(Finding::new(WATERMARKS, format!("{} was answered with {:?}", call.op, reply.token)));
            continue;
        };
        for position in seen.positions() {
            if call.after.get(&position.partition).copied().unwrap_or(0) <= position.offset {
                findings.push(Finding::new(WATERMARKS, format!("{position} was seen before it was in the log")));
            }
            if call.at_least.offset(position.partition).is_some_and(|asked| asked > position.offset) {
                findings.push(Finding::new(WATERMARKS, format!("less than asked was seen: {position}")));
            }
        }
        reads.push((call, seen));
    }
    reads.sort_by_key(|(call, _)| call.told);
    findings.extend(backward(&reads));
    findings
}

/// Of two reads of one process, as far as it is known, one answered before the other was asked for.
fn backward(reads: &[(&Call, Token)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_process: BTreeMap<_, Vec<&(&Call, Token)>> = BTreeMap::new();
    for read in reads {
        if let Some(process) = read.0.answered_by {
            by_process.entry((process, read.0.op.service())).or_default().push(read);
        }
    }
    for reads in by_process.values() {
        for (at, (later, seen)) in reads.iter().map(|read| (read.0, &read.1)).enumerate() {
            let before = reads[..at].iter().rev().find(|(earlier, _)| earlier.told < later.asked);
            let Some((_, known)) = before else { continue };
            for position in known.positions() {
                if seen.offset(position.partition).is_none_or(|now| now < position.offset) {
                    findings.push(Finding::new(WATERMARKS, format!("{position} was seen, and then not")));
                }
            }
        }
    }
    findings
}
