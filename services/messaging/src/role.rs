//! What a role in a group allows. Pure.

use kith_proto::messaging::v1::MemberRole;

/// Whether who has it adds members, and sets the title.
pub fn manages(role: MemberRole) -> bool {
    matches!(role, MemberRole::Owner | MemberRole::Moderator)
}

/// Whether who has it removes one who has that one.
pub fn removes(role: MemberRole, other: MemberRole) -> bool {
    match role {
        MemberRole::Owner => true,
        MemberRole::Moderator => other == MemberRole::Member,
        MemberRole::Member | MemberRole::Unspecified => false,
    }
}

/// The role of that number in an event; `None`: it is none.
pub fn of(number: i32) -> Option<MemberRole> {
    MemberRole::try_from(number).ok().filter(|role| *role != MemberRole::Unspecified)
}

/// As a column has it.
pub fn letter(role: MemberRole) -> char {
    match role {
        MemberRole::Owner => 'o',
        MemberRole::Moderator => 'd',
        MemberRole::Member => 'm',
        MemberRole::Unspecified => '-',
    }
}

/// Reads what [`letter`] gives for a role.
pub fn parse(letter: &str) -> Option<MemberRole> {
    match letter {
        "o" => Some(MemberRole::Owner),
        "d" => Some(MemberRole::Moderator),
        "m" => Some(MemberRole::Member),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemberRole::{Member, Moderator, Owner};

    #[test]
    fn a_role_allows_what_it_says() {
        assert_eq!([Owner, Moderator, Member].map(manages), [true, true, false]);
        let by = |role| [Owner, Moderator, Member].map(|other| removes(role, other));
        assert_eq!([by(Owner), by(Moderator), by(Member)], [[true; 3], [false, false, true], [false; 3]]);
    }

    #[test]
    fn roles_read_back() {
        for role in [Owner, Moderator, Member] {
            assert_eq!(parse(&letter(role).to_string()), Some(role));
            assert_eq!(of(role.into()), Some(role));
        }
        assert_eq!((parse("-"), parse(""), of(0), of(77)), (None, None, None, None));
    }
}
