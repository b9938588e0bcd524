//! `kith run`: configuration → telemetry → log and tables → bind → folds → serve → drain.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use kith_fold::engine::{FoldMetrics, Ports};
use kith_fold::{FoldError, Generations, MakeGroup, Operations, Projection, Standstill};
use kith_log::LogError;
use kith_log::kafka::check_rights as check_kafka_rights;
use kith_runtime::Runtime;
use kith_service::auth::{CallersMetrics, Principals, Revocations, Verifier};
use kith_service::config::{LogAddress, LogFormat, Settings};
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::health::{Readiness, ReadinessCheck};
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::layers::Edge;
use kith_service::metrics::Metrics;
use kith_service::page_token::PageTokens;
use kith_service::rate::Refused;
use kith_service::security::Security;
use kith_service::server::{self, Admin, Serving};
use kith_service::telemetry::Telemetry;
use kith_tables::StoreError;
use tokio::time::Instant;
use tonic::service::{Routes, RoutesBuilder};

use crate::ops::projections::Projections;
use crate::services::{self, GroupOf, Release, Roles};
use crate::{init, ops, ports, rights, security, upgrade};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const CLOSE_LOG_WITHIN: Duration = Duration::from_secs(5);
/// Between two log lines about the same wait.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// How long the process waits for embedded stores. For servers it waits as long as it takes.
const START_PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(settings: Settings, release: Release) -> anyhow::Result<()> {
    settings.fit_to_run()?;
    let telemetry = Telemetry::start(&settings, "kith")?;
    let runtime = Runtime::system();
    let tls = ports::listeners_tls(&settings, &runtime)?;
    let metrics = Metrics::default();
    let fold_metrics = FoldMetrics::register(&mut metrics.registry());
    let ports = ports::open(&settings, &runtime, fold_metrics).await?;
    if settings.is_embedded() {
        init::create_keys(&settings, &runtime)?;
        init::create(&ports, &settings, release).await?;
    }
    let admin = server::bind("admin_listen", settings.admin_listen).await?;
    let readiness = Readiness::default();
    let stores = readiness.check("stores");
    let admin = Admin::open(&runtime, admin, &readiness, &metrics).await;
    let security = security::open(&settings, &runtime, &metrics)?;
    let verifier =
        Verifier::open(settings.jwks_file(), runtime.clone()).context("the keys that tokens are verified with")?;
    verifier.note_in(&security);
    let principals = principals(&settings, &runtime, (&metrics, &security))?;
    let refused = Refused::register(&metrics, &security);
    let asked = until_asked();
    tokio::pin!(asked);
    let suite = tokio::select! {
        biased;
        () = &mut asked => return give_up(&ports, telemetry, &runtime).await,
        suite = Suite::start(&settings, release, &ports, (&readiness, &stores), (&verifier, &principals, &refused)) => suite?,
    };
    stores.ready();
    // Not earlier: nobody would serve the connections, and callers would wait until their deadlines.
    let callers = server::bind("listen", settings.listen).await?;
    let operators = server::bind("ops_listen", settings.ops_listen).await?;
    suite.revocations.register(&metrics);
    let verifier = verifier.heeding(Arc::clone(&suite.revocations));
    let edge = Edge::new(&metrics, (&runtime, refused), verifier, principals, settings.edge_rules())?;
    announce(&settings);
    let serving = Serving {
        runtime: runtime.clone(),
        routes: suite.routes.clone(),
        services: suite.names.clone(),
        tokens: suite.tokens.clone(),
        callers,
        admin,
        operators: (operators, suite.operators.clone()),
        tls,
        edge,
        readiness,
        metrics,
        reflection: settings.serves_reflection(),
        connection_age: settings.connection_age(),
        drain: settings.deadlines().max + Duration::from_secs(1),
    };
    let mut end = End::Asked;
    let ended = server::serve(serving, async { end = until_end(&suite, asked).await }).await;
    drop(suite);
    security.close(security::WRITE_WITHIN).await;
    ports.log.close(CLOSE_LOG_WITHIN).await;
    telemetry.flush(&runtime).await;
    ended?;
    match end {
        End::Asked => Ok(()),
        End::Broken(why) => bail!("{why}; a new start reads the disk back"),
    }
}

fn principals(
    settings: &Settings,
    runtime: &Runtime,
    (metrics, security): (&Metrics, &Security),
) -> anyhow::Result<Principals> {
    match settings.callers_file() {
        None => Ok(Principals::default()),
        Some(file) => {
            let metrics = CallersMetrics::register(metrics, security);
            let opened = Principals::open(file.to_owned(), settings.issuer_keys_over(), runtime.clone(), metrics);
            opened.context("the services that may call (`callers_file`)")
        }
    }
}

/// Why the process ends.
enum End {
    Asked,
    /// Nothing more can be written: a supervisor must restart the process.
    Broken(String),
}

async fn until_asked() {
    if let Err(error) = server::termination().await {
        tracing::error!(%error, "signals are not heard; the process ends by SIGKILL only");
        std::future::pending::<()>().await;
    }
}

/// Ends a process that still waits for its stores.
async fn give_up(ports: &Ports, telemetry: Telemetry, runtime: &Runtime) -> anyhow::Result<()> {
    tracing::info!("asked to end while waiting for the stores");
    ports.log.close(CLOSE_LOG_WITHIN).await;
    telemetry.flush(runtime).await;
    Ok(())
}

async fn until_end(suite: &Suite, asked: impl Future<Output = ()>) -> End {
    let broken = async {
        loop {
            let running = suite.projections.iter().flat_map(|projection| projection.all());
            let lags = running.map(|running| Arc::clone(&running.lag));
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

/// The running services of this process.
struct Suite {
    routes: Routes,
    /// Full names, for health and reflection.
    names: Vec<&'static str>,
    /// The services for operators.
    operators: Routes,
    /// Which sessions were ended, for the edge.
    revocations: Arc<Revocations>,
    projections: Vec<Arc<Projection>>,
    tokens: ConsistencyTokens,
    runtime: Runtime,
}

impl Suite {
    async fn start(
        settings: &Settings,
        release: Release,
        ports: &Ports,
        (readiness, stores): (&Readiness, &ReadinessCheck),
        (verifier, principals, refused): (&Verifier, &Principals, &Refused),
    ) -> anyhow::Result<Self> {
        let waits = Waits { ports, stores, patience: settings.is_embedded().then_some(START_PATIENCE) };
        let keys = KeyFolder::at(&settings.keys_dir);
        let page_tokens = Arc::new(PageTokens::new(keys.page_token_key().context("the page-token key")?)?);
        let key = keys.consistency_token_key().context("the consistency-token key: `kith init` makes one")?;
        let tokens = ConsistencyTokens::new(key, ports.log.partition_count(), ports.runtime.clone())?;
        waits.until("rights", || check_rights(settings, release, ports)).await?;
        let operations = Arc::new(waits.until("operations", || open_operations(ports)).await?);
        let revocations = Arc::new(waits.until("revocations", || open_revocations(ports)).await?);
        waits.until("security events", || security::check(ports)).await?;
        security::write(settings, ports, refused.security());
        let mut routes = RoutesBuilder::default();
        let (mut names, mut all) = (Vec::new(), Vec::new());
        for service in release.here(settings) {
            let Roles { folds, serves } = (service.roles)(settings);
            let mut kits = BTreeMap::new();
            for &group in service.groups {
                let projection = start_group(&waits, &operations, group, settings, folds).await?;
                let check = readiness.check(projection.group_name());
                if settings.is_alone() {
                    ports.runtime.spawn(upgrade::follow(Arc::downgrade(&projection)));
                }
                ports.runtime.spawn(watch_lag(ports.runtime.clone(), Arc::downgrade(&projection), check));
                let seals = (Arc::clone(&page_tokens), tokens.clone());
                let kit = Kit::new(Arc::clone(&projection), seals, settings.max_lag_records);
                kits.insert(projection.group_name(), Arc::new(kit));
                all.push(projection);
            }
            if serves {
                let serving = services::Serving { kits, settings, verifier, principals, refused };
                names.extend((service.add_to)(&mut routes, &serving)?);
            }
        }
        let (log, runtime) = (Arc::clone(&ports.log), ports.runtime.clone());
        let first = release.first_groups(settings);
        let builds = first.iter().map(|group| (group.name, group.build())).collect();
        let projections = Projections::new(&all, builds, Arc::clone(&operations));
        let audit = ops::audit::service(Arc::clone(&log), Arc::clone(&page_tokens), rights::audits(settings));
        let events = ops::events::service(log, operations, page_tokens, runtime.clone());
        let operators = ops::routes(projections, events, audit);
        Ok(Self { routes: routes.routes(), names, operators, revocations, projections: all, tokens, runtime })
    }
}

/// A right that is missing would else be noticed by the first command that needs it. CQL's are checked with each keyspace.
async fn check_rights(settings: &Settings, release: Release, ports: &Ports) -> Result<(), FoldError> {
    let LogAddress::Kafka(servers) = &settings.log else { return Ok(()) };
    let kafka = ports::kafka_settings(settings, servers);
    Ok(check_kafka_rights(&kafka, &release.needed(settings), &ports.runtime).await?)
}

async fn open_operations(ports: &Ports) -> Result<Operations, FoldError> {
    Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await
}

async fn open_revocations(ports: &Ports) -> Result<Revocations, FoldError> {
    Ok(Revocations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?)
}

async fn start_group(
    waits: &Waits<'_>,
    operations: &Arc<Operations>,
    group: GroupOf,
    settings: &Settings,
    folding: bool,
) -> anyhow::Result<Arc<Projection>> {
    let (settings, name) = (settings.clone(), group(settings, Generations::FIRST).name);
    let make: MakeGroup = Arc::new(move |generation| group(&settings, generation));
    let start = || Projection::start(waits.ports, operations, Arc::clone(&make), folding);
    waits.until(name, start).await
}

/// How a start waits for servers that do not answer yet, and for topics and tables that `kith init` is about to create.
/// Readiness says for what.
struct Waits<'a> {
    ports: &'a Ports,
    stores: &'a ReadinessCheck,
    /// `None`: for as long as it takes.
    patience: Option<Duration>,
}

impl Waits<'_> {
    async fn until<T, F>(&self, what: &'static str, start: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, FoldError>>,
    {
        let began = Instant::now();
        let mut said: Option<(String, Instant)> = None;
        loop {
            let error = match start().await {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            if self.patience.is_some_and(|patience| began.elapsed() >= patience) {
                return Err(error).with_context(|| format!("starting {what}"));
            }
            let why = match hint(&error) {
                "" => format!("starting {what}: {error}"),
                hint => format!("starting {what}: {error}; {hint}"),
            };
            self.stores.not_ready(why.clone());
            if said.as_ref().is_none_or(|(last, at)| *last != why || at.elapsed() >= SAY_EVERY) {
                tracing::warn!(what, %error, hint = hint(&error), "waiting");
                said = Some((why, Instant::now()));
            }
            self.ports.runtime.sleep(LOOK_EVERY).await;
        }
    }
}

/// What an operator can do about it.
fn hint(error: &FoldError) -> &'static str {
    match error {
        FoldError::Log(LogError::Contract(_)) | FoldError::Store(StoreError::Contract(_)) => {
            "`kith init` creates topics and tables that are missing, `kith init --print` names the rights"
        }
        FoldError::Log(_) => "is the broker up, and `log` its address?",
        FoldError::Store(_) => "is the CQL server up, and `tables` its address?",
        _ => "",
    }
}

/// For tables that have not reached the log's heads at the start.
fn why_behind(projection: &Projection) -> String {
    let group = projection.group_name();
    match projection.operations().generations(group).paused() {
        Some(_) => format!(
            "the tables do not have what the log had at the start, and their folds are paused: kith resume {group}"
        ),
        None => "the tables do not have yet what the log had at the start".to_owned(),
    }
}

/// The note for operators about folds that stand still: the process stays ready, since its reads continue and report
/// it. A service whose every replica is unready would serve no caller.
fn why_still(group: &str, standstill: &Standstill) -> String {
    match standstill {
        Standstill::Paused => {
            format!("its folds are paused: reads say that they are incomplete, verdicts wait; kith resume {group}")
        }
        Standstill::Stopped { partition, reason } => {
            format!("the fold of {partition} is stopped: reads say that they are incomplete; {reason}")
        }
        Standstill::CatchingUp => "its folds go on, and have not caught up yet".to_owned(),
    }
}

/// Ready while the log and the tables answer, once the tables have reached the log's heads at the start.
async fn watch_lag(runtime: Runtime, projection: Weak<Projection>, check: ReadinessCheck) {
    while let Some(projection) = projection.upgrade() {
        look(&projection, &check);
        drop(projection);
        runtime.sleep(LOOK_EVERY).await;
    }
}

fn look(projection: &Projection, check: &ReadinessCheck) {
    let Some(serving) = projection.serving() else {
        let promoted = || "what was promoted is being opened here".to_owned();
        return check.not_ready(ops::projections::waits_for(projection).unwrap_or_else(promoted));
    };
    match (serving.lag.error(), serving.state.standstill()) {
        (Some(reason), _) => check.not_ready(reason),
        (None, _) if !serving.lag.has_caught_up() => check.not_ready(why_behind(projection)),
        (None, Some(standstill)) => check.ready_but(why_still(projection.group_name(), &standstill)),
        (None, None) => match live_elsewhere(projection, serving.number()) {
            Some(note) => check.ready_but(note),
            None => check.ready(),
        },
    }
}

/// A note for operators if another release's generation is live. Only that release's processes append facts then, so commands
/// that wait for a fact (a new account, an edit) need them.
fn live_elsewhere(projection: &Projection, serving: u32) -> Option<String> {
    let live = projection.operations().generations(projection.group_name()).live();
    let is_live = live == serving;
    (!is_live)
        .then(|| format!("answers from generation {serving}; generation {live}, which appends, is another release's"))
}

/// Beside the suite's work: that nobody reads it changes nothing.
fn announce(settings: &Settings) {
    if settings.log_format == LogFormat::Json {
        // Whoever reads the stream reads JSON.
        return;
    }
    let (callers, admin) = (settings.listen, settings.admin_listen);
    note!("Kith serves gRPC on {callers}; health and metrics are on http://{admin}");
    if !settings.serves_reflection() {
        // The call would need the protos.
        return;
    }
    note!("A first call:");
    note!(
        "  grpcurl -plaintext -d '{{\"handle\":\"ada\",\"password\":\"correct horse\"}}' {callers} kith.identity.v1.AccountService/CreateAccount"
    );
}
