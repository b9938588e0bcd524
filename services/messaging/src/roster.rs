//! Who has which role in a group, and which changes win: a function of the intents before them alone. Pure.

use std::collections::BTreeMap;

use kith_proto::messaging::private::v1::GroupChangeRequested;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::v1::MemberRole;
use kith_relations::{are_ids, revision};
use kith_service::limits::GROUP_MEMBERS;
use kith_tables::{Cell, Kind, Value, row};

use crate::role;

/// The members and their roles, by account. In its column it reads `account:o account:m`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<String, MemberRole>);

row! {
    /// A group, as the intents so far have made it.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct GroupSummary in 0 {
        pub roster: Roster,
        /// The most members; 0: there is no group.
        pub member_limit: i64,
        /// How many updates of the title have won.
        pub updates: i64,
        /// One more than the offset of the last intent that won.
        pub changed_next: i64,
    }
}

/// Why a change has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such group, or the actor is not in it.
    NotInIt = 1,
    RoleMissing = 2,
    Full = 3,
    LastOwner = 4,
    /// The other is not in the group.
    NoSuchMember = 5,
    /// The title was at another revision.
    Stale = 6,
    /// Nothing that could win is asked for.
    Void = 7,
}

impl Refusal {
    const ALL: [Self; 7] =
        [Self::NotInIt, Self::RoleMissing, Self::Full, Self::LastOwner, Self::NoSuchMember, Self::Stale, Self::Void];

    /// Of the number in a column; `None`: it is none.
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| *refusal as i64 == number)
    }
}

impl GroupSummary {
    /// What the intents so far make of this one, and what it makes of them: one that loses changes nothing. An intent of a later
    /// version of the events may have other rules; these are those of the second.
    pub fn judge(&mut self, intent: &GroupChangeRequested) -> Result<(), Refusal> {
        let actor = intent.actor_id.as_str();
        if let Some(Change::Creation(creation)) = &intent.change {
            return self.create(
                actor,
                creation.members.iter().map(|member| &*member.account_id),
                creation.member_limit,
            );
        }
        let role = self.roster.role(actor).ok_or(Refusal::NotInIt)?;
        match intent.change.as_ref().ok_or(Refusal::Void)? {
            Change::Creation(_) => Err(Refusal::Void),
            Change::Addition(_) | Change::TitleSetting(_) if !role::manages(role) => Err(Refusal::RoleMissing),
            Change::Addition(change) => self.add(change.members.iter().map(|member| &*member.account_id)),
            Change::Removal(change) => self.remove((actor, role), &change.account_id),
            Change::RoleSetting(_) if role != MemberRole::Owner => Err(Refusal::RoleMissing),
            Change::RoleSetting(change) => {
                self.set_role(&change.account_id, role::of(change.role).ok_or(Refusal::Void)?)
            }
            Change::TitleSetting(change) => {
                let has_title = change.title.is_some();
                let (won, _) = revision::judge(&mut self.updates, change.expected_revision, has_title);
                if won { Ok(()) } else { Err(Refusal::Stale) }
            }
            Change::Leaving(change) => self.leave((actor, role), &change.successor_id),
        }
    }

    /// The offset of the last intent that won; `None`: there is no group.
    pub fn last_change(&self) -> Option<u64> {
        self.changed_next.checked_sub(1).and_then(|last| u64::try_from(last).ok())
    }

    /// The revision of the title.
    pub fn revision(&self) -> u32 {
        revision::after(self.updates)
    }

    fn create<'a>(
        &mut self,
        owner: &str,
        others: impl Iterator<Item = &'a str>,
        member_limit: u32,
    ) -> Result<(), Refusal> {
        let limit = i64::from(member_limit).clamp(1, GROUP_MEMBERS as i64);
        let mut created = Self { member_limit: limit, ..Self::default() };
        created.roster.0.insert(owner.to_owned(), MemberRole::Owner);
        created.add(others)?;
        if self.member_limit != 0 {
            return Err(Refusal::Void);
        }
        *self = created;
        Ok(())
    }

    /// All of them, or none.
    fn add<'a>(&mut self, accounts: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
        let mut roster = self.roster.clone();
        accounts.for_each(|account| {
            roster.0.entry(account.to_owned()).or_insert(MemberRole::Member);
        });
        if roster.0.len() as i64 > self.member_limit {
            return Err(Refusal::Full);
        }
        self.roster = roster;
        Ok(())
    }

    fn remove(&mut self, (actor, role): (&str, MemberRole), account: &str) -> Result<(), Refusal> {
        // Whoever removes nobody learns of nobody whether it is in the group.
        if !role::manages(role) {
            return Err(Refusal::RoleMissing);
        }
        let other = self.roster.role(account).ok_or(Refusal::NoSuchMember)?;
        if actor == account {
            return Err(Refusal::Void);
        }
        if !role::removes(role, other) {
            return Err(Refusal::RoleMissing);
        }
        self.roster.0.remove(account);
        Ok(())
    }

    fn set_role(&mut self, account: &str, role: MemberRole) -> Result<(), Refusal> {
        let mut roster = self.roster.clone();
        *roster.0.get_mut(account).ok_or(Refusal::NoSuchMember)? = role;
        self.take_if_owned(roster)
    }

    /// Only owners make others owners, also when they leave.
    fn leave(&mut self, (account, role): (&str, MemberRole), successor: &str) -> Result<(), Refusal> {
        if !successor.is_empty() && role != MemberRole::Owner {
            return Err(Refusal::RoleMissing);
        }
        let mut roster = self.roster.clone();
        roster.0.remove(account);
        if !successor.is_empty() {
            *roster.0.get_mut(successor).ok_or(Refusal::NoSuchMember)? = MemberRole::Owner;
        }
        self.take_if_owned(roster)
    }

    fn take_if_owned(&mut self, roster: Roster) -> Result<(), Refusal> {
        if !roster.0.is_empty() && roster.0.values().all(|role| *role != MemberRole::Owner) {
            return Err(Refusal::LastOwner);
        }
        self.roster = roster;
        Ok(())
    }
}

impl Roster {
    pub fn role(&self, account_id: &str) -> Option<MemberRole> {
        self.0.get(account_id).copied()
    }
}

impl Cell for Roster {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        let shown = |(account, role): (&String, &MemberRole)| format!("{account}:{}", role::letter(*role));
        Value::Text(self.0.iter().map(shown).collect::<Vec<_>>().join(" "))
    }

    fn from_value(value: Value) -> Option<Self> {
        let text = String::from_value(value)?;
        let member = |shown: &str| {
            let (account, letter) = shown.split_once(':')?;
            are_ids(&[account]).then_some(())?;
            Some((account.to_owned(), role::parse(letter)?))
        };
        let members = text.split_terminator(' ').map(member).collect::<Option<Vec<_>>>()?;
        let count = members.len();
        let roster = Self(members.into_iter().collect());
        (roster.0.len() == count).then_some(roster)
    }
}

#[cfg(test)]
mod tests;
