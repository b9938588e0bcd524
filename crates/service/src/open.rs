//! Long-lived answers: each has a place among the open streams, and goes on for as long as its caller may call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;
use tonic::body::Body;

use crate::Failure;
use crate::auth::{self, Authentication, ON_BEHALF_OF, Principals, Right, Verifier};
use crate::limits::STREAM_CHECKED_SECONDS;
use crate::metrics::Metrics;
use crate::peer::PeerIdentity;
use crate::response::OpenStream;
use crate::share::Taken;

/// How many are open.
#[derive(Clone, Default)]
pub(crate) struct StreamMetrics {
    open: Gauge,
}

impl StreamMetrics {
    /// One per process.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.registry().register("kith_streams_open", "Long-lived answers that are open", own.open.clone());
        own
    }
}

/// What an open stream holds.
pub(crate) struct Places {
    /// Among the connection's, and among the process's.
    _places: (OpenStream, Taken),
    open: Gauge,
}

impl Places {
    pub fn new(places: (OpenStream, Taken), metrics: &StreamMetrics) -> Self {
        metrics.open.inc();
        Self { _places: places, open: metrics.open.clone() }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A long-lived body.
pub(crate) struct Open {
    body: Body,
    watch: Option<Watch>,
    is_over: bool,
    _places: Places,
}

/// Asks again and again whether the caller may still call: a token expires, a session is ended, a service loses its rights.
pub(crate) struct Watch {
    verifier: Verifier,
    principals: Principals,
    /// Those that say who calls.
    headers: HeaderMap,
    peer: Option<PeerIdentity>,
    ticks: Interval,
}

impl Watch {
    /// Of a caller that is known; others need nothing that could end.
    pub fn of<B>((verifier, principals): (&Verifier, &Principals), request: &http::Request<B>) -> Option<Self> {
        let is_known = request.extensions().get::<Authentication>().is_some_and(Authentication::is_known);
        if !is_known {
            return None;
        }
        let mut headers = HeaderMap::new();
        for name in [AUTHORIZATION.as_str(), ON_BEHALF_OF] {
            request.headers().get_all(name).iter().for_each(|value| {
                let name = http::HeaderName::from_static(name);
                headers.append(name, value.clone());
            });
        }
        let peer = request.extensions().get().cloned();
        let period = Duration::from_secs(STREAM_CHECKED_SECONDS);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { verifier: verifier.clone(), principals: principals.clone(), headers, peer, ticks })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        while self.ticks.poll_tick(context).is_ready() {
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        match auth::authenticate(&self.verifier, &self.principals, &self.headers, self.peer.as_ref()) {
            Authentication::Caller(_) | Authentication::Service { account: None, .. } => Ok(()),
            Authentication::Service { principal, account: Some(_) } => principal.may(Right::ActAs),
            Authentication::Refused(refused) => Err(refused.into()),
            Authentication::Unfit(unfit) => Err(unfit.into()),
            Authentication::Anonymous => Err(Failure::unauthenticated("the caller is not known any more")),
        }
    }
}

impl Open {
    pub fn new(body: Body, watch: Option<Watch>, places: Places) -> Self {
        Self { body, watch, is_over: false, _places: places }
    }
}

impl HttpBody for Open {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let allowed = self.watch.as_mut().map_or(Ok(()), |watch| watch.poll(context));
        if let Err(failure) = allowed {
            self.is_over = true;
            let trailers = Status::from(failure).into_http::<Body>().into_parts().0.headers;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
