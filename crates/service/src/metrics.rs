//! The metrics of the process: one registry that every crate adds to, in OpenMetrics text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kith_proto::rpc::{COSTS, Cost};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;

/// The content type of [`Metrics::encode`]'s result.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The name of unknown RPCs: callers cannot create new time series.
const OTHER_METHOD: &str = "_OTHER";
/// Seconds; as OpenTelemetry's conventions list them, with two smaller ones for reads from memory.
const DURATION_BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const CODES: usize = 17;

/// The registry of the process; every clone is the same one. Names start with `kith_`, RPCs' with `rpc_`.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// The registry, to register metrics in. Never await while it is held.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics, as OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry())?;
        Ok(text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc_method: Arc<str>,
    rpc_status_code: &'static str,
}

/// Rate, errors and duration of every RPC: `rpc_server_call_duration_seconds{rpc_method, rpc_status_code}`.
#[derive(Clone)]
pub struct RpcMetrics {
    durations: Family<RpcLabels, Histogram, fn() -> Histogram>,
    methods: HashMap<String, RpcMethod>,
    other: RpcMethod,
}

/// One method, with its series at hand, so that a call costs one look-up and no allocation.
#[derive(Clone)]
pub struct RpcMethod {
    shared: Arc<RpcMethodShared>,
}

struct RpcMethodShared {
    name: Arc<str>,
    is_streaming: bool,
    cost: Cost,
    series: [OnceLock<Histogram>; CODES],
}

impl RpcMetrics {
    /// Registers the histogram. `descriptors` are encoded `FileDescriptorSet`s of all that is served; methods in none of
    /// them count as `_OTHER`.
    pub fn register(metrics: &Metrics, descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "Duration of RPCs, until their response starts";
        metrics.registry().register("rpc_server_call_duration_seconds", help, durations.clone());
        let mut methods = HashMap::new();
        for descriptors in descriptors {
            for (name, is_streaming) in methods_in(descriptors)? {
                methods.insert(format!("/{name}"), RpcMethod::new(&name, is_streaming));
            }
        }
        Ok(Self { durations, methods, other: RpcMethod::new(OTHER_METHOD, false) })
    }

    /// The method that `path` (`/package.Service/Method`) names.
    pub fn method(&self, path: &str) -> RpcMethod {
        self.methods.get(path).unwrap_or(&self.other).clone()
    }

    /// Counts one call.
    pub fn observe(&self, method: &RpcMethod, code: Code, duration: Duration) {
        let index = usize::try_from(code as i32).unwrap_or(CODES).min(CODES - 1);
        let series = method.shared.series[index].get_or_init(|| {
            let labels = RpcLabels { rpc_method: method.shared.name.clone(), rpc_status_code: code_name(code) };
            self.durations.get_or_create_owned(&labels)
        });
        series.observe(duration.as_secs_f64());
    }
}

impl RpcMethod {
    /// `package.Service/Method`, or `_OTHER`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the answer is a stream.
    pub fn is_streaming(&self) -> bool {
        self.shared.is_streaming
    }

    /// What a call costs its caller. Probes, reflection and methods that there are not cost nothing.
    pub(crate) fn cost(&self) -> Cost {
        self.shared.cost
    }

    fn new(name: &str, is_streaming: bool) -> Self {
        let cost = COSTS.iter().find(|(of, _)| *of == name).map_or(Cost::Points(0), |(_, cost)| *cost);
        let series = std::array::from_fn(|_| OnceLock::new());
        Self { shared: Arc::new(RpcMethodShared { name: name.into(), is_streaming, cost, series }) }
    }
}

fn histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// The methods' names, and whether their answers are streams.
fn methods_in(descriptors: &[u8]) -> Result<Vec<(String, bool)>, prost::DecodeError> {
    let mut found = Vec::new();
    for file in FileDescriptorSet::decode(descriptors)?.file {
        for service in &file.service {
            let methods = service.method.iter();
            let name = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            found.extend(methods.map(|method| (name(method.name()), method.server_streaming())));
        }
    }
    Ok(found)
}

/// The canonical name of a code, as labels and logs show it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_status() {
        let metrics = Metrics::default();
        let rpcs = RpcMetrics::register(&metrics, &[kith_proto::FILE_DESCRIPTOR_SET]).unwrap();
        let method = rpcs.method("/kith.identity.v1.AccountService/GetAccount");
        rpcs.observe(&method, Code::Ok, Duration::from_millis(3));
        rpcs.observe(&method, Code::Ok, Duration::from_secs(60));
        rpcs.observe(&method, Code::Unauthenticated, Duration::from_micros(3));
        let text = metrics.encode().unwrap();
        let labels = r#"rpc_method="kith.identity.v1.AccountService/GetAccount",rpc_status_code="OK""#;
        assert!(text.contains(&format!("rpc_server_call_duration_seconds_count{{{labels}}} 2")), "{text}");
        assert!(text.contains(r#"rpc_status_code="UNAUTHENTICATED""#) && text.ends_with("# EOF\n"));
    }

    #[test]
    fn callers_cannot_make_new_series() {
        let metrics = Metrics::default();
        let rpcs = RpcMetrics::register(&metrics, &[kith_proto::FILE_DESCRIPTOR_SET]).unwrap();
        for path in ["/x/y", "", "/kith.identity.v1.AccountService/GetAccount2"] {
            assert_eq!(rpcs.method(path).name(), OTHER_METHOD);
        }
    }
}
