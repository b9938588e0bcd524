//! The layers before every handler: admit or shed, count, trace, set the deadline, authenticate the caller.

mod foreign;
mod observed;
mod who;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use kith_proto::errors::v1::Reason;
use kith_runtime::Runtime;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use self::foreign::with_reason;
use self::observed::{Call, code_in, span_of};
use crate::Failure;
use crate::admission::{Admission, Who};
use crate::auth::{OperatorRules, Principals, Verifier};
use crate::deadline::{Deadline, DeadlineRules};
use crate::limits::{REQUEST_ARRIVES_SECONDS, REQUEST_HEADER_BYTES, STREAMS_OPEN};
use crate::metrics::{Metrics, RpcMethod, RpcMetrics};
use crate::open::{Open, Places, StreamMetrics, Watch};
use crate::peer::PeerIdentity;
use crate::rate::{RateLimits, Rates, Refused};
use crate::response::{Answer, Held, UntakenBytes};
use crate::share::{Shares, Taken};
use crate::source::{Proxies, Source, Sources};
use crate::{arriving, content_type, cost};

/// Between two checks for calls in flight, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the rest of a refused request may take to arrive.
const REFUSED_TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// Sets the message limits of a generated server: requests of 256 KiB, responses of 4 MiB.
#[macro_export]
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::limits::REQUEST_BYTES)
            .max_encoding_message_size($crate::limits::RESPONSE_BYTES)
    };
}

/// The stack, as one layer: the cost of one call stays visible.
#[derive(Clone)]
pub struct Edge {
    shared: Arc<EdgeShared>,
}

/// What holds for all calls.
#[derive(Debug, Clone, Default)]
pub struct EdgeRules {
    pub deadlines: DeadlineRules,
    /// Whose word about their clients' addresses counts.
    pub proxies: Proxies,
    pub rates: Rates,
    /// Of the port of operators' commands.
    pub operators: OperatorRules,
}

struct EdgeShared {
    rpcs: RpcMetrics,
    verifier: Verifier,
    principals: Principals,
    rules: EdgeRules,
    /// A place is held until the caller has read the answer.
    admission: Admission,
    /// The answer to a shed call: made once, since a refusal must be cheap.
    refusal: HeaderMap,
    /// The places of streaming methods, which may run for ever.
    streams: (Arc<Shares>, StreamMetrics),
    untaken: UntakenBytes,
    rates: RateLimits,
    /// `None`: this is not their port.
    operators: Option<OperatorRules>,
}

impl Edge {
    /// Registers the RPC metrics in `metrics`; one per process. `refused` counts.
    pub fn new(
        metrics: &Metrics,
        (runtime, refused): (&Runtime, Refused),
        verifier: Verifier,
        principals: Principals,
        rules: EdgeRules,
    ) -> Result<Self, prost::DecodeError> {
        let descriptors = [
            kith_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let rpcs = RpcMetrics::register(metrics, &descriptors)?;
        let rates = RateLimits::new(runtime, rules.rates, refused);
        let streams = StreamMetrics::register(metrics);
        Ok(Self::with((rpcs, streams), verifier, principals, (rules, rates), None))
    }

    fn with(
        (rpcs, opened): (RpcMetrics, StreamMetrics),
        verifier: Verifier,
        principals: Principals,
        (rules, rates): (EdgeRules, RateLimits),
        operators: Option<OperatorRules>,
    ) -> Self {
        let refusal = Status::from(Failure::overloaded()).into_http::<Body>().into_parts().0.headers;
        let (admission, untaken) = (Admission::new(), UntakenBytes::default());
        let streams = (Shares::of(STREAMS_OPEN), opened);
        let shared =
            EdgeShared { rpcs, verifier, principals, rules, admission, refusal, streams, untaken, rates, operators };
        Self { shared: Arc::new(shared) }
    }

    /// The same for the port of operators' commands: with separate places, and no rates, so that callers cannot crowd out operators;
    /// and for operators only.
    pub(crate) fn for_operators(&self, runtime: &Runtime) -> Self {
        let EdgeShared { rpcs, streams, verifier, principals, rules, rates, .. } = &*self.shared;
        let refused = Refused::counted_nowhere(rates.security());
        let unlimited = (rules.clone(), RateLimits::new(runtime, Rates::default(), refused));
        Self::with(
            (rpcs.clone(), streams.1.clone()),
            verifier.clone(),
            principals.clone(),
            unlimited,
            Some(rules.operators),
        )
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.shared.rules.proxies
    }

    /// Waits until nothing is in flight, except streams. New calls are still served: a connection was sent the GOAWAY,
    /// but its caller may not have received it yet.
    pub(crate) async fn idle(&self) {
        while self.shared.admission.in_flight() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService { edge: self.shared.clone(), inner }
    }
}

/// A service with the stack before it.
#[derive(Clone)]
pub struct EdgeService<S> {
    edge: Arc<EdgeShared>,
    inner: S,
}

impl<S> Service<Request<Body>> for EdgeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that was polled ready is the one to call.
        let inner = std::mem::replace(&mut self.inner, clone);
        let edge = self.edge.clone();
        let method = edge.rpcs.method(request.uri().path());
        if let Some(refusal) = content_type::refusal(request.headers()) {
            let code = code_in(refusal.headers());
            return Box::pin(async move { Ok(edge.refuse(&method, request.into_body(), code, refusal).await) });
        }
        // Authentication costs more than a refusal. A forged token gets no place later.
        let claims =
            request.headers().contains_key(AUTHORIZATION) || request.extensions().get::<PeerIdentity>().is_some();
        let claims = if claims { Who::Known } else { Who::Anonymous };
        if !edge.admission.has_room(claims) {
            return Box::pin(async move { Ok(edge.shed(&method, request.into_body()).await) });
        }
        Box::pin(async move { Ok(edge.serve(method, inner, request).await) })
    }
}

impl EdgeShared {
    /// Counted, but without a span: for the many refusals of an overload, the count is enough.
    async fn shed(&self, method: &RpcMethod, request: Body) -> Response<Body> {
        self.refuse(method, request, Code::ResourceExhausted, self.refusal()).await
    }

    /// Answers without a handler.
    async fn refuse(
        &self,
        method: &RpcMethod,
        mut request: Body,
        code: Code,
        refusal: Response<Body>,
    ) -> Response<Body> {
        take_rest(&mut request).await;
        self.rpcs.observe(method, code, Duration::ZERO);
        refusal
    }

    fn refusal(&self) -> Response<Body> {
        let mut refusal = Response::new(Body::empty());
        *refusal.headers_mut() = self.refusal.clone();
        refusal
    }

    /// Before a call takes a place, its caller is authenticated and its request has arrived completely.
    async fn serve<S>(&self, method: RpcMethod, inner: S, mut request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let mut call = Call { rpcs: &self.rpcs, method, started: Instant::now(), code: Code::Cancelled };
        let (authentication, sources, fit) = self.recognise(&mut request);
        let (who, source) = (Who::from(&authentication), sources.caller);
        let entered = match fit.and_then(|()| self.rules.deadlines.admit(request.headers())) {
            Ok(deadline) => self.enter(&mut request, deadline, (who, &source), &call.method).await,
            Err(failure) => {
                take_rest(request.body_mut()).await;
                Err(failure)
            }
        };
        if entered.as_ref().is_err_and(|failure| failure.reason() == Reason::Overloaded) {
            call.code = Code::ResourceExhausted;
            return self.refusal();
        }
        let span = span_of(&call.method, &request);
        self.call(call, entered, inner, request).instrument(span).await
    }

    /// All of the request, and then a place, if the rate allows the call. The request of a stream may go on as long as it does: one
    /// costs what its method costs, whatever is asked.
    async fn enter(
        &self,
        request: &mut Request<Body>,
        deadline: Deadline,
        (who, source): (Who, &Source),
        method: &RpcMethod,
    ) -> Result<Entry, Failure> {
        let connection = connection_of(request);
        let body = request.body_mut();
        let late = deadline.answer_by().min(Instant::now() + Duration::from_secs(REQUEST_ARRIVES_SECONDS));
        let whole = async {
            if method.is_streaming() {
                return Ok(None);
            }
            arriving::whole(body, &connection.arriving, (self.admission.arriving(who), source)).await.map(Some)
        };
        let whole = tokio::time::timeout_at(late, whole).await.map_err(|_| late_request())?;
        let entered = whole.and_then(|whole| {
            let place = self.admission.admit(who, source).ok_or_else(Failure::overloaded)?;
            self.rates.charge(source, cost::points(method.cost(), whole.as_deref().unwrap_or_default()))?;
            whole.into_iter().for_each(|whole| *body = Body::new(Full::new(whole)));
            Ok((deadline, place))
        });
        if entered.is_err() {
            take_rest(body).await;
        }
        entered
    }

    async fn call<S>(
        &self,
        mut call: Call<'_>,
        entered: Result<Entry, Failure>,
        inner: S,
        mut request: Request<Body>,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let handled = match entered {
            Err(failure) => Err(failure),
            Ok((deadline, place)) => {
                request.extensions_mut().insert(deadline);
                match call.method.is_streaming() {
                    true => self.open(deadline, place, inner, request).await,
                    false => self.answer(deadline, place, inner, request).await,
                }
            }
        };
        let (code, response) = handled.unwrap_or_else(|failure| (failure.code(), Status::from(failure).into_http()));
        call.code = code;
        response
    }

    /// A stream: it keeps its place among the streams until its end, and starts within the deadline; until then it is a call in flight
    /// too. It ends once its caller may not call any more.
    async fn open<S>(
        &self,
        deadline: Deadline,
        in_flight: Taken,
        inner: S,
        request: Request<Body>,
    ) -> Result<(Code, Response<Body>), Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let own = connection_of(&request).open_stream().ok_or_else(Failure::overloaded)?;
        let (streams, metrics) = &self.streams;
        let place = streams.take(&source_of(&request), 1).ok_or_else(Failure::overloaded)?;
        let places = Places::new((own, place), metrics);
        let watch = Watch::of((&self.verifier, &self.principals), &request);
        let response = with_reason(handle(deadline, inner, request).await?);
        drop(in_flight);
        Ok((code_in(response.headers()), response.map(|body| Body::new(Open::new(body, watch, places)))))
    }

    /// One answer: complete within the deadline, and in memory only until its caller has read it.
    async fn answer<S>(
        &self,
        deadline: Deadline,
        place: Taken,
        inner: S,
        request: Request<Body>,
    ) -> Result<(Code, Response<Body>), Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let (connection, source) = (connection_of(&request), source_of(&request));
        let (head, body) = with_reason(handle(deadline, inner, request).await?).into_parts();
        let answer = Answer::of(body).await.map_err(|status| Failure::defect("encoding an answer", &status))?;
        let code = code_in(answer.trailers().unwrap_or(&head.headers));
        let body = answer.into_body(connection, (&self.untaken, &source), place).ok_or_else(Failure::overloaded)?;
        Ok((code, Response::from_parts(head, body)))
    }
}

/// The deadline of an admitted call, and its place among those in flight.
type Entry = (Deadline, Taken);

async fn handle<S>(deadline: Deadline, mut inner: S, request: Request<Body>) -> Result<Response<Body>, Failure>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
{
    if header_bytes(request.headers()) > REQUEST_HEADER_BYTES {
        return Err(Failure::headers_too_large());
    }
    match tokio::time::timeout_at(deadline.answer_by(), inner.call(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(never)) => match never {},
        Err(_) => Err(Failure::deadline_exceeded()),
    }
}

/// The rest of a refused request is read first, since h2 closes a connection after some streams that were answered
/// before their end. The wait for it is bounded.
async fn take_rest(request: &mut Body) {
    let all = async { while let Some(Ok(_)) = request.frame().await {} };
    // Refused, whether it arrived or not.
    let _ = tokio::time::timeout(REFUSED_TAKEN_WITHIN, all).await;
}

fn late_request() -> Failure {
    Failure::new(Reason::DeadlineExceeded, "the request did not come whole in time; nothing was done")
}

/// The budgets of the request's connection; none without connection (a unit test).
fn connection_of(request: &Request<Body>) -> Arc<Held> {
    request.extensions().get::<Arc<Held>>().cloned().unwrap_or_default()
}

/// Who calls, once that is known.
fn source_of(request: &Request<Body>) -> Source {
    request.extensions().get::<Sources>().map(|sources| sources.caller.clone()).unwrap_or_default()
}

/// As HTTP/2 counts them (RFC 9113, section 6.5.2).
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[cfg(test)]
mod tests;
