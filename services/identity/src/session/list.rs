//! An account's sessions, for itself.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::Found;
use kith_log::topics;
use kith_proto::identity::v1::{ListSessionsRequest, ListSessionsResponse, Session, rpc};
use kith_proto::time;
use kith_service::Failure;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk};
use kith_tables::{Key, Timestamp, Value};

use super::fold::Sessions;
use super::{Account, PlaceRow, SESSIONS, SessionRow, of_id};
use crate::IdentityService;

#[async_trait]
impl Lists<rpc::ListSessions> for Sessions {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: ListSessionsRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        service: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListSessionsResponse, Option<Vec<Value>>), Failure> {
        let (state, account_id) = (&seen.state, &*seen.viewer);
        let key = Key::text(account_id);
        let (places, next) = page.rows::<PlaceRow>(seen, &SESSIONS, &key, Vec::new()).await?;
        let places: Vec<Found<PlaceRow>> = places;
        let rows = state.rows::<SessionRow>(&SESSIONS, &key, places.iter().map(|place| of_id(place.text(1)).to_vec()));
        // After the sessions' own rows, so that nothing that ended them is missed.
        let account = state.summary::<Account>(&SESSIONS, &key, (topics::IDENTITY_PRIVATE, account_id));
        let (rows, account) = try_join!(rows, account)?;
        let account = account.map(|found| found.row).unwrap_or_default();
        let now = Timestamp(service.shared.kit.runtime.now_ms().saturating_mul(1_000));
        let present = |(place, row): (&Found<PlaceRow>, Option<Found<SessionRow>>)| {
            let row = row?.row;
            let stands = account.has(place.text(1), &row) && !row.is_idle(now);
            stands.then(|| present(place.text(1), &row))
        };
        let sessions = places.iter().zip(rows).filter_map(present).collect();
        Ok((ListSessionsResponse { sessions, ..ListSessionsResponse::default() }, next))
    }
}

fn present(session_id: &str, row: &SessionRow) -> Session {
    Session {
        session_id: session_id.to_owned(),
        client: i32::try_from(row.client).unwrap_or_default(),
        create_time: Some(time::of_us(row.create_time.0)),
        last_refresh_time: Some(time::of_us(row.use_time.0)),
        principal: row.principal.clone(),
    }
}
