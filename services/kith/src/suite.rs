//! `kith run`: configuration → telemetry → log and tables → bind → folds → serve → drain.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use kith_fold::engine::{FoldMetrics, Ports};
use kith_fold::{FoldError, Generations, Group, MakeGroup, Operations, Projection};
use kith_log::LogError;
use kith_runtime::Runtime;
use kith_service::auth::{TokenIssuer, Verifier};
use kith_service::config::{ServiceName, Settings};
use kith_service::health::{Readiness, ReadinessCheck};
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::layers::Edge;
use kith_service::metrics::Metrics;
use kith_service::page_token::PageTokens;
use kith_service::server::{self, Serving};
use kith_service::telemetry::Telemetry;
use kith_tables::StoreError;
use tonic::service::{Routes, RoutesBuilder};

use crate::{init, ops, ports};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const CLOSE_LOG_WITHIN: Duration = Duration::from_secs(5);
/// Servers that are only starting get this long before the process gives up.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The fold group of every generation of every service.
pub fn groups(settings: &Settings, generations_of: impl Fn(&str) -> Generations) -> Vec<Group> {
    let all = |service| {
        let generations = generations_of(group(service, settings, 0).service);
        Vec::from_iter(generations.all().keys().map(|&number| group(service, settings, number)))
    };
    ServiceName::ALL.into_iter().flat_map(all).collect()
}

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&settings, "kith")?;
    let runtime = Runtime::system();
    let metrics = Metrics::default();
    let fold_metrics = FoldMetrics::register(&mut metrics.registry());
    let ports = ports::open(&settings, &runtime, fold_metrics).await?;
    if settings.is_embedded() {
        init::create_keys(&settings, &runtime)?;
        init::create(&ports, &settings).await?;
    }
    let callers = server::bind("listen", settings.listen).await?;
    let admin = server::bind("admin_listen", settings.admin_listen).await?;
    let operators = server::bind("ops_listen", settings.ops_listen).await?;
    let readiness = Readiness::default();
    let verifier =
        Verifier::open(settings.jwks_file(), runtime.clone()).context("the keys that tokens are verified with")?;
    let suite = Suite::start(&settings, &ports, &readiness, &verifier).await?;
    let edge = Edge::new(&metrics, verifier, settings.deadlines())?;
    announce(&settings);
    let serving = Serving {
        runtime: runtime.clone(),
        routes: suite.routes.clone(),
        services: suite.names.clone(),
        partition_count: ports.log.partition_count(),
        callers,
        admin,
        operators: (operators, suite.operators.clone()),
        edge,
        readiness,
        metrics,
        reflection: settings.serves_reflection(),
        drain: settings.deadlines().max + Duration::from_secs(1),
    };
    let mut end = End::Asked;
    let ended = server::serve(serving, async { end = until_end(&suite).await }).await;
    drop(suite);
    ports.log.close(CLOSE_LOG_WITHIN).await;
    telemetry.flush(&runtime).await;
    ended?;
    match end {
        End::Asked => Ok(()),
        End::Broken(why) => bail!("{why}; a new start reads the disk back"),
    }
}

/// Why the process ends.
enum End {
    Asked,
    /// Nothing more can be written: whoever supervises the process starts it anew.
    Broken(String),
}

async fn until_end(suite: &Suite) -> End {
    let asked = async {
        if let Err(error) = server::termination().await {
            tracing::error!(%error, "signals are not heard; the process ends by SIGKILL only");
            std::future::pending::<()>().await;
        }
    };
    let broken = async {
        loop {
            let lags = suite.projections.iter().map(|projection| Arc::clone(&projection.live().lag));
            if let Some(lag) = lags.into_iter().find(|lag| lag.is_broken()) {
                return lag.error().unwrap_or_else(|| "a write to the disk failed".to_owned());
            }
            suite.runtime.sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = asked => End::Asked,
        why = broken => End::Broken(why),
    }
}

/// The services of this process at work.
struct Suite {
    routes: Routes,
    /// Full names, for health and reflection.
    names: Vec<&'static str>,
    /// What serves operators.
    operators: Routes,
    projections: Vec<Arc<Projection>>,
    runtime: Runtime,
}

impl Suite {
    async fn start(
        settings: &Settings,
        ports: &Ports,
        readiness: &Readiness,
        verifier: &Verifier,
    ) -> anyhow::Result<Self> {
        let keys = KeyFolder::at(&settings.keys_dir);
        let page_tokens = Arc::new(PageTokens::new(&keys.page_token_key().context("the page-token key")?)?);
        let operations = Arc::new(start(ports, "operations", || open_operations(ports)).await?);
        let mut routes = RoutesBuilder::default();
        let (mut names, mut all) = (Vec::new(), Vec::new());
        for &service in &settings.services {
            let (folds, serves) = roles(service, settings);
            let projection = start_service(ports, &operations, service, settings, folds).await?;
            let check = readiness.check(service.as_str());
            ports.runtime.spawn(watch_lag(ports.runtime.clone(), Arc::downgrade(&projection), check));
            if serves {
                let kit = Kit::new(Arc::clone(&projection), Arc::clone(&page_tokens), settings.max_lag_records);
                names.extend(add(service, Arc::new(kit), settings, verifier, &mut routes)?);
            }
            all.push(projection);
        }
        let (log, runtime) = (Arc::clone(&ports.log), ports.runtime.clone());
        let operators = ops::routes(&all, ops::events::service(log, operations, page_tokens, runtime.clone()));
        Ok(Self { routes: routes.routes(), names, operators, projections: all, runtime })
    }
}

/// Whether a service folds here, and whether it serves here. Only the projector can do one without the other: the
/// others decide against what they fold.
fn roles(service: ServiceName, settings: &Settings) -> (bool, bool) {
    match service {
        ServiceName::Projector => (settings.projector_role.folds(), settings.projector_role.serves()),
        ServiceName::Identity | ServiceName::Posts | ServiceName::Engagement | ServiceName::Messaging => (true, true),
    }
}

/// The fold group of one generation of a service.
fn group(service: ServiceName, settings: &Settings, generation: u32) -> Group {
    match service {
        ServiceName::Identity => kith_identity::group(generation),
        ServiceName::Posts => kith_posts::group(generation),
        ServiceName::Engagement => kith_engagement::group(generation),
        ServiceName::Messaging => kith_messaging::group(generation),
        ServiceName::Projector => {
            let (push_threshold, partition_count) = (settings.push_threshold, settings.partitions);
            kith_projector::group(generation, kith_projector::Settings { push_threshold, partition_count })
        }
    }
}

/// Adds a service's RPCs; gives their full names.
fn add(
    service: ServiceName,
    kit: Arc<Kit>,
    settings: &Settings,
    verifier: &Verifier,
    routes: &mut RoutesBuilder,
) -> anyhow::Result<Vec<&'static str>> {
    Ok(match service {
        ServiceName::Identity => {
            let key = KeyFolder::at(&settings.keys_dir).signing_key().context("the signing key")?;
            let deps = kith_identity::Deps {
                issuer: TokenIssuer::new(key, kit.runtime.clone()),
                kit,
                verifier: verifier.clone(),
                password_memory_kib: settings.password_memory_kib,
                backfill_window_seconds: settings.backfill_window_seconds,
            };
            kith_identity::add_to(routes, deps)?
        }
        ServiceName::Posts => {
            kith_posts::PostsService::new(kit).add_to(routes);
            kith_posts::SERVICES.to_vec()
        }
        ServiceName::Engagement => {
            kith_engagement::EngagementService::new(kit).add_to(routes);
            kith_engagement::SERVICES.to_vec()
        }
        ServiceName::Messaging => {
            kith_messaging::MessagingService::new(kit).add_to(routes);
            kith_messaging::SERVICES.to_vec()
        }
        ServiceName::Projector => kith_projector::add_to(routes, kit),
    })
}

async fn open_operations(ports: &Ports) -> Result<Operations, FoldError> {
    Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await
}

async fn start_service(
    ports: &Ports,
    operations: &Arc<Operations>,
    service: ServiceName,
    settings: &Settings,
    folding: bool,
) -> anyhow::Result<Arc<Projection>> {
    let settings = settings.clone();
    let make: MakeGroup = Arc::new(move |generation| group(service, &settings, generation));
    start(ports, service.as_str(), || Projection::start(ports, operations, Arc::clone(&make), folding)).await
}

/// Waits for a server that is only starting, and for topics and tables that `kith init` may be about to create.
async fn start<T, F>(ports: &Ports, what: &'static str, start: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, FoldError>>,
{
    let started = tokio::time::Instant::now();
    loop {
        match start().await {
            Ok(started) => return Ok(started),
            Err(error) if started.elapsed() < START_PATIENCE => {
                tracing::warn!(what, %error, hint = hint(&error), "waiting");
            }
            Err(error) => return Err(error).with_context(|| format!("starting {what}")),
        }
        ports.runtime.sleep(LOOK_EVERY).await;
    }
}

/// What an operator can do about it.
fn hint(error: &FoldError) -> &'static str {
    match error {
        FoldError::Log(LogError::Contract(_)) | FoldError::Store(StoreError::Contract(_)) => {
            "`kith init` creates topics and tables that are missing"
        }
        FoldError::Log(_) => "is the broker up, and `log` its address?",
        FoldError::Store(_) => "is the CQL server up, and `tables` its address?",
        _ => "",
    }
}

/// Of tables that do not have what the log had at the start.
fn why_behind(projection: &Projection) -> String {
    let service = projection.service();
    match projection.operations().generations(service).paused() {
        Some(_) => format!(
            "the tables do not have what the log had at the start, and their folds are paused: kith resume {service}"
        ),
        None => "the tables do not have yet what the log had at the start".to_owned(),
    }
}

/// Ready while the log and the tables answer, once the tables have what was in the log at the start.
async fn watch_lag(runtime: Runtime, projection: Weak<Projection>, check: ReadinessCheck) {
    while let Some(projection) = projection.upgrade() {
        let lag = Arc::clone(&projection.live().lag);
        match lag.error() {
            None if lag.has_caught_up() => check.ready(),
            None => check.not_ready(why_behind(&projection)),
            Some(reason) => check.not_ready(reason),
        }
        drop(projection);
        runtime.sleep(LOOK_EVERY).await;
    }
}

/// Beside the suite's work: that nobody reads it changes nothing.
fn announce(settings: &Settings) {
    let (callers, admin) = (settings.listen, settings.admin_listen);
    note!("Kith serves gRPC on {callers}; health and metrics are on http://{admin}");
    note!("A first call:");
    note!(
        "  grpcurl -plaintext -d '{{\"handle\":\"ada\",\"password\":\"correct horse\"}}' {callers} kith.identity.v1.AccountService/CreateAccount"
    );
}
