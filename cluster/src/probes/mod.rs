//! Probes and metrics over HTTP, on a thread and runtime of their own: they answer while a handler hangs and while the
//! role's runtime is blocked.
//!
//! | path | 200 | 503 with the reason |
//! |---|---|---|
//! | `/livez` | there is progress (`progress.rs`) | a handler past its deadline, a queue that nobody takes from, a blocked runtime |
//! | `/readyz` | ready, or degraded but serving | starting, draining, wedged |
//! | `/metrics` | OpenMetrics text | never |
//! | gRPC `grpc.health.v1`, services `` and the role's name | serving: as `/readyz` | not serving |
//!
//! The same thread tells the service manager (`notify.rs`). No secrets and no way to change anything; without TLS. Bind it
//! to loopback or to a network of the operator's own.

mod listener;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use alys_proto::cluster::Health;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use self::listener::Bounded;
use crate::exit::ActorError;
use crate::metrics::MEDIA_TYPE;
use crate::notify::{Notifier, Seen};
use crate::vitals::{Pulse, name_of};

/// How often the runtime is asked to run a task, and the state is told.
const BEAT: Duration = Duration::from_secs(1);

/// What is behind the port: a role's vitals, or the [`Board`](crate::board::Board) of a process that is no role.
pub(crate) trait Shown: Send + Sync + 'static {
    /// Its name as a service of gRPC health.
    fn name(&self) -> &str;
    /// The state and why it is not better.
    fn health(&self) -> (Health, String);
    /// Whether there is progress; why not.
    fn live(&self) -> Result<(), String>;
    /// The metrics as OpenMetrics text.
    fn exposition(&self) -> String;
    /// Beats while its runtime runs tasks.
    fn pulse(&self) -> &Pulse;
    /// Whether it ends.
    fn draining(&self) -> watch::Receiver<bool>;

    /// Whether it serves: `Err` says why not.
    ///
    /// | health | serves |
    /// |---|---|
    /// | ready | yes |
    /// | degraded | yes: it does what it can, and to hide it would cut off those that could heal it |
    /// | starting, draining, wedged, frozen | no |
    fn ready(&self) -> Result<(), String> {
        match self.health() {
            (Health::Ready | Health::Degraded, _) => Ok(()),
            (health, reason) if reason.is_empty() => Err(name_of(health).to_owned()),
            (health, reason) => Err(format!("{}: {reason}", name_of(health))),
        }
    }
}

/// The thread. It ends when this is dropped.
pub struct Probes {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        // The thread ends when this end is gone; a panic in it has been printed.
        drop(self.stop.take());
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// Starts the thread. Call inside the role's runtime, which it watches.
///
/// # Errors
/// The address cannot be bound, or there is no thread to be had.
pub(crate) fn start(shown: Arc<dyn Shown>, listen: Option<SocketAddr>) -> Result<Probes, ActorError> {
    let listener = listen.map(bind).transpose()?;
    let (stop, stopped) = oneshot::channel();
    let watched = Handle::current();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| ActorError::Temporary(format!("cannot start the probes: {cause}")))?;
    let thread = std::thread::Builder::new().name("probes".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _gone = stopped => {}
                () = serve(listener, shown, watched) => {}
            }
        });
    });
    let thread = thread.map_err(|cause| ActorError::Temporary(format!("cannot start the probes: {cause}")))?;
    Ok(Probes { stop: Some(stop), thread: Some(thread) })
}

fn bind(address: SocketAddr) -> Result<TcpListener, ActorError> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    // A predecessor that still drains may hold it for a while.
    bound.map_err(|cause| ActorError::Temporary(format!("cluster.telemetry.listen {address}: {cause}")))
}

async fn serve(listener: Option<TcpListener>, shown: Arc<dyn Shown>, watched: Handle) {
    let (reporter, health) = health_reporter();
    let watching = watch(shown.clone(), reporter, watched);
    let Some(listener) = listener.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok()) else {
        return watching.await;
    };
    let routes = tonic::service::Routes::new(health).into_axum_router().merge(router(shown));
    tokio::select! {
        served = axum::serve(Bounded::new(listener), routes).into_future() => {
            // It ends only when its listener does, which never does.
            tracing::error!(?served, "the probes ended");
        }
        () = watching => {}
    }
}

/// Tells the service manager when the thread ends, however that comes.
struct Ending(Notifier);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn router(shown: Arc<dyn Shown>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(shown)
}

async fn metrics(State(shown): State<Arc<dyn Shown>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], shown.exposition())
}

async fn livez(State(shown): State<Arc<dyn Shown>>) -> (StatusCode, String) {
    answer(shown.live())
}

async fn readyz(State(shown): State<Arc<dyn Shown>>) -> (StatusCode, String) {
    answer(shown.ready())
}

fn answer(verdict: Result<(), String>) -> (StatusCode, String) {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Feels the pulse of the role's runtime, and tells those that want to know the state.
async fn watch(shown: Arc<dyn Shown>, reporter: HealthReporter, watched: Handle) {
    let mut draining = shown.draining();
    let mut ending = Ending(Notifier::default());
    let mut beats = tokio::time::interval(Notifier::watchdog().map_or(BEAT, |half| half.min(BEAT)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let under_way = Arc::new(AtomicBool::new(false));
    loop {
        tokio::select! {
            _ = beats.tick() => {}
            Ok(()) = draining.changed() => {}
        }
        // One at a time, so a blocked runtime collects no tasks.
        if !under_way.swap(true, Ordering::AcqRel) {
            let (shown, under_way) = (shown.clone(), under_way.clone());
            watched.spawn(async move {
                shown.pulse().beat();
                under_way.store(false, Ordering::Release);
            });
        }
        let (health, reason) = shown.health();
        let serves = shown.ready().is_ok();
        ending.0.tell(Seen { health, reason: &reason, live: shown.live().is_ok(), serves });
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        reporter.set_service_status(shown.name(), status).await;
    }
}
