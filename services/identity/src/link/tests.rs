use super::*;

fn intent(account: u8, unlinks: bool) -> IdentityRequested {
    let account_id = RecordId([account; 16]).to_string();
    let (issuer, identity_key) = ("https://login.example".to_owned(), "a".repeat(64));
    IdentityRequested { account_id, issuer, identity_key, unlinks, ..IdentityRequested::default() }
}

fn record(offset: u64) -> Record {
    let position = Position { partition: LogPartition { topic: topics::IDENTITY_PRIVATE, index: 0 }, offset };
    Record::new(position, RecordId([7; 16]), Private::IdentityRequested(intent(1, false)))
}

#[test]
fn an_identity_proves_one_account_at_a_time() {
    let mut owner = OwnerSummary::default();
    let verdicts: Vec<bool> = [(1, false), (2, false), (2, true), (1, false), (1, true), (1, true), (2, false)]
        .into_iter()
        .map(|(account, unlinks)| Links::judge(&mut owner, &intent(account, unlinks), &record(0)).won)
        .collect();
    assert_eq!(verdicts, [true, false, false, true, true, false, true]);
    assert_eq!(owner.account_id, RecordId([2; 16]).to_string());
}

#[test]
fn a_command_that_cannot_win_writes_nothing() {
    let asked = |account: u8| {
        let (id, actor) = (RecordId([9; 16]), RecordId([account; 16]).to_string());
        Asked { id, actor, digest: [1; 32], at: Timestamp(7) }
    };
    let command = |wish| Command { identity_key: "a".repeat(64), wish };
    let link = || command(Wish::Link { issuer: "https://login.example".to_owned() });
    let owned = Before { owner: OwnerSummary { account_id: asked(1).actor, ..Default::default() }, verdict: None };
    let writes = |before: &Before, account, command: &Command| {
        Links::decide(before, &asked(account), command).map(|event| event.is_some())
    };
    assert_eq!(writes(&Before::default(), 1, &link()), Ok(true));
    assert_eq!(writes(&owned, 1, &link()), Ok(false));
    assert_eq!(writes(&owned, 2, &link()), Err(Rejection::Taken));
    assert_eq!(writes(&owned, 1, &command(Wish::Unlink)), Ok(true));
    assert_eq!(writes(&owned, 2, &command(Wish::Unlink)), Ok(false));
    let judged = |digest: u8| Before {
        verdict: Some(VerdictRow { payload_digest: vec![digest; 32].into(), ..VerdictRow::default() }),
        ..owned.clone()
    };
    assert_eq!(writes(&judged(1), 2, &link()), Ok(false));
    assert_eq!(writes(&judged(2), 2, &link()), Err(Rejection::RequestIdReused));
}
