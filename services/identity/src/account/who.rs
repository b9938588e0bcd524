//! Who may have accounts made.

use kith_proto::errors::v1::Reason;
use kith_runtime::Runtime;
use kith_service::Failure;
use kith_service::auth::{Asker, Right};
use kith_service::config::SignUp;
use kith_service::rate::{Buckets, Rate, Refused};

/// As answers and metrics call it.
const QUOTA: &str = "sign_ups";

/// Sign-up at one process.
pub struct Registration {
    open_to: SignUp,
    by_origin: Buckets,
    refused: Refused,
}

impl Registration {
    /// `rate`: of those whom nobody knows, by address.
    pub fn new(runtime: Runtime, (open_to, rate): (SignUp, Rate), refused: Refused) -> Self {
        Self { open_to, by_origin: Buckets::new(runtime, rate), refused }
    }

    /// Who asks for an account. Nobody acts yet: whoever has an account makes another one as anybody does, and a calling service makes
    /// it by itself. Fails PERMISSION_DENIED for whom sign-up is closed.
    pub fn who_makes(&self, asker: Asker) -> Result<Asker, Failure> {
        let asker = asker.without_account();
        match (self.open_to, asker.principal()) {
            (SignUp::Closed, _) | (SignUp::ByService, None) => return Err(closed()),
            (_, Some(principal)) => principal.may(Right::CreateAccounts)?,
            (SignUp::Open | SignUp::Auto, None) => {}
        }
        Ok(asker)
    }

    /// One more is made, unless a calling service makes it. Fails RESOURCE_EXHAUSTED for an address that makes too many.
    pub fn count(&self, asker: &Asker) -> Result<(), Failure> {
        if asker.principal().is_some() {
            return Ok(());
        }
        self.by_origin.take(asker.origin(), 1).map_err(|wait| self.refused.failure(QUOTA, (asker.origin(), None), wait))
    }
}

fn closed() -> Failure {
    Failure::new(Reason::SignUpClosed, "accounts are not made by anybody here")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use kith_log::RecordId;
    use kith_service::auth::{Accounts, Authentication, Caller, Principal, Refusals};
    use kith_service::source::{Source, Sources};
    use tonic::Request;

    use super::*;

    fn asker(authentication: Authentication, from: u32) -> Asker {
        let origin = Source::of_address(Ipv4Addr::from_bits(from).into());
        let mut request = Request::new(());
        request.extensions_mut().insert(authentication);
        request.extensions_mut().insert(Sources { caller: origin.clone(), origin });
        Asker::anyone(&request).unwrap()
    }

    fn service(rights: &[Right]) -> Authentication {
        let principal = Principal::new("web", rights.iter().copied(), Accounts::Any, Refusals::default());
        Authentication::Service { principal, account: None }
    }

    #[tokio::test(start_paused = true)]
    async fn sign_up_is_for_those_for_whom_it_is_open() {
        let rate = Rate { points_per_hour: 60, burst: 2 };
        let may = |open_to, authentication: &Authentication| {
            let registration = Registration::new(Runtime::simulated(1, 0), (open_to, rate), Refused::default());
            registration
                .who_makes(asker(authentication.clone(), 1))
                .map_or_else(|failure| failure.reason_name(), |_| "OK")
        };
        let (nobody, somebody) = (Authentication::Anonymous, Authentication::Caller(Caller::of(RecordId([7; 16]))));
        let (web, reader) = (service(&[Right::CreateAccounts]), service(&[Right::Read]));
        for (open_to, expected) in [
            (SignUp::Open, ["OK", "OK", "OK", "RIGHT_MISSING"]),
            (SignUp::ByService, ["SIGN_UP_CLOSED", "SIGN_UP_CLOSED", "OK", "RIGHT_MISSING"]),
            (SignUp::Closed, ["SIGN_UP_CLOSED"; 4]),
        ] {
            let found = [&nobody, &somebody, &web, &reader].map(|authentication| may(open_to, authentication));
            assert_eq!(found, expected, "{open_to:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_makes_so_many_whatever_accounts_it_has() {
        let rate = Rate { points_per_hour: 60, burst: 2 };
        let registration = Registration::new(Runtime::simulated(1, 0), (SignUp::Open, rate), Refused::default());
        let reason = |n: u8, from| {
            let authentication = Authentication::Caller(Caller::of(RecordId([n; 16])));
            let counted =
                registration.who_makes(asker(authentication, from)).and_then(|asker| registration.count(&asker));
            counted.err().map(|failure| failure.reason_name())
        };
        assert_eq!([reason(1, 1), reason(2, 1), reason(3, 1), reason(4, 2)], [None, None, Some("RATE_LIMITED"), None]);
    }
}
