//! Deliberate defects, outside the production code: ports and folds wrapped so that a rule is broken. Each must be
//! caught by some checker.

use kith_fold::Group;
use kith_fold::engine::Ports;

use super::call::Ask;
use super::history::Reply;
use super::plan::Plan;

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {}

impl std::str::FromStr for Planted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        let found = Self::ALL.iter().copied().find(|planted| planted.to_string() == text);
        found.ok_or_else(|| anyhow::anyhow!("no planted defect is called {text}"))
    }
}

impl std::fmt::Display for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Planted {
    pub const ALL: &'static [Self] = &[];

    fn name(self) -> &'static str {
        match self {}
    }

    /// A plan under which the defect can show.
    pub fn plan(self, plan: Plan) -> Plan {
        plan
    }

    pub fn groups(self, groups: Vec<Group>) -> Vec<Group> {
        groups
    }

    pub fn ports(self, ports: Ports) -> Ports {
        ports
    }

    pub fn rebuild_ports(self, ports: Ports) -> Ports {
        ports
    }

    pub fn ask(self, ask: &Ask, _attempts: u32) -> Option<Ask> {
        let Ask { actor, request_id, at_least, op } = ask;
        let (actor, request_id) = (actor.clone(), request_id.clone());
        Some(Ask { actor, request_id, at_least: at_least.clone(), op: op.clone() })
    }

    pub fn answers_early(self, _ask: &Ask) -> Option<Reply> {
        None
    }

    pub fn calls_unknown_a_no(self) -> bool {
        false
    }
}
