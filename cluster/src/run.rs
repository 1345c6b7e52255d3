//! A role process from start to exit code.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alys_proto::cluster::Health;
use alys_proto::{Inbox, Role};
use ractor::Actor as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::actor::{RoleActor, Status};
use crate::cluster::Cluster;
use crate::config::ClusterConfig;
use crate::executor::{Activity, Executor};
use crate::exit::{self, ActorError};
use crate::generation::Generations;
use crate::handled::Handled;
use crate::identity::Identity;
use crate::inspect::{self, Audit, Inspector};
use crate::lease::{Keeper, Lease};
use crate::mailbox::Shared;
use crate::mesh::{self, JoinedFiles, Links};
use crate::outbox::Outbox;
use crate::poison::{Ended, Guard, blame};
use crate::port::{Deliver, Doors, Gate, Item, Sign, admit, put_back};
use crate::probes;
use crate::registry::{Kind, Registry, SCOPE, group_of};
use crate::remote::Sender;
use crate::telemetry;
use crate::vitals::{Pulse, Vitals};

/// How long the last answers may take to reach the kernel.
const FLUSH_BUDGET: Duration = Duration::from_secs(1);

/// Runs a role until it is drained by SIGTERM, SIGINT or `Drain`, or until it fails. Returns the exit code of the process.
pub async fn run<A: RoleActor>(
    config: &ClusterConfig,
    identity: Identity,
    build: impl FnOnce(&Cluster) -> Result<A, ActorError>,
) -> u8 {
    try_run(config, identity, build).await.map_or_else(|error| error.exit_code(), |()| exit::DONE)
}

/// The same, for a process that shows people why it ended. The log says it too.
///
/// # Errors
/// The role failed.
pub async fn try_run<A: RoleActor>(
    config: &ClusterConfig,
    identity: Identity,
    build: impl FnOnce(&Cluster) -> Result<A, ActorError>,
) -> Result<(), ActorError> {
    let telemetry = telemetry::init(&config.telemetry, &identity).inspect_err(|error| eprintln!("{error}"))?;
    tracing::info!(role = %identity.role, instance = identity.instance, incarnation = %identity.incarnation, pid = std::process::id(), "starting");
    let ended = serve(config, identity, build).await;
    match &ended {
        Ok(()) => tracing::info!("drained"),
        Err(error) => tracing::error!(%error, code = error.exit_code(), "ended"),
    }
    drop(telemetry);
    ended
}

async fn serve<A: RoleActor>(
    config: &ClusterConfig,
    identity: Identity,
    build: impl FnOnce(&Cluster) -> Result<A, ActorError>,
) -> Result<(), ActorError> {
    let mut terminate = signals()?;
    let doors = Arc::new(Doors::default());
    let (cluster, files) = connect(config, &identity, &doors, false).await?;

    let mailbox = Shared::new(config.mailbox);
    let (drain, draining) = watch::channel(false);
    let activity = Arc::new(Activity::default());
    let gate = Arc::new(Gate::default());
    let (seen, frozen) = (mailbox.clone(), mailbox.clone());
    let lease = cluster.sender.lease.clone();
    let vitals = Arc::new(Vitals {
        identity: identity.clone(),
        activity: activity.clone(),
        gate: gate.clone(),
        links: cluster.links.clone(),
        lease: lease.clone(),
        draining: draining.clone(),
        mailbox: Box::new(move || seen.lock().figures()),
        frozen: Box::new(move || frozen.frozen()),
        deadline: config.handler_deadline,
        pulse: Pulse::default(),
        certificate: config.mesh.as_ref().map(|mesh| mesh.certificate_file.clone()),
    });
    let _probes = probes::start(vitals.clone(), config.telemetry.listen)?;
    let actor = build(&cluster)?;
    let inspector = Inspector {
        audit: Audit { file: config.debug.audit_file.clone(), identity: identity.clone() },
        vitals: vitals.clone(),
        mailbox: mailbox.clone(),
        drain: drain.clone(),
        describe: A::Inbox::describe,
        freeze_signers: config.debug.freeze_signers,
        generations: Generations::new(config.origin.clone()),
    };
    doors.open_inspector(Arc::new(move |incoming| incoming.into_iter().for_each(|one| inspector.answer(one))));
    announce(Kind::Inspector, &identity, 0).await?;
    let keeper = Keeper::new(&lease, &identity, cluster.remote(), config.lease);
    if let Some(keeper) = &keeper
        && !held(keeper, &activity, &mut terminate, draining.clone()).await?
    {
        return Ok(());
    }
    let epoch = lease.epoch();
    let guard = assist::<A>(&cluster, mailbox.clone()).await;
    let executor = Executor {
        actor,
        mailbox: mailbox.clone(),
        activity,
        gate: gate.clone(),
        lease,
        guard: guard.clone(),
        handled: Handled::new(Some(cluster.remote())),
        drain: draining,
    };
    let gate_of_door = gate.clone();
    let door: Deliver = Arc::new(move |incoming| admit::<A::Inbox, _>(&gate_of_door, &mailbox, incoming));
    doors.open_role(door.clone());
    announce(Kind::Role, &identity, epoch).await?;
    inspect::replay(config.debug.replay.clone(), vitals.clone(), door, drain.clone());

    let ended = until_drained(executor, &mut terminate, &drain, config.drain_budget, &vitals).await;
    guard.report(blame(&ended), vitals.activity.message()).await;
    if let Some(keeper) = keeper {
        keeper.give_back().await;
    }
    // The last answers are on their way to whoever asked.
    let _flushed_or_peers_are_slow = tokio::time::timeout(FLUSH_BUDGET, cluster.links.flushed()).await;
    drop(files);
    match ended {
        Ok(Ok(_actor)) if gate.restart.load(Ordering::Acquire) => Err(ActorError::Restart("drained, to be started again".into())),
        Ok(result) => result.map(|_actor| ()),
        Err(_panic) => Err(ActorError::Broken("a handler panicked; see the message above".into())),
    }
}

/// Starts what works beside the role: the guard against poison, and the delivery of what is posted.
async fn assist<A: RoleActor>(cluster: &Cluster, mailbox: Arc<Shared<Item<A::Local>>>) -> Arc<Guard> {
    let role = cluster.identity().role;
    let guard = Guard::new::<A::Inbox>(role, Some(cluster.remote()));
    guard.start::<A::Inbox>(move |envelope| put_back(&mailbox, envelope)).await;
    if !matches!(role, Role::Storage | Role::Supervisor) {
        tokio::spawn(Outbox { cluster: cluster.clone() }.run());
    }
    guard
}

/// Lets the executor work until it ends by itself, or has finished what waits after it was asked to.
async fn until_drained<A: RoleActor>(
    executor: Executor<A>,
    terminate: &mut Signals,
    drain: &watch::Sender<bool>,
    budget: Duration,
    vitals: &Vitals,
) -> Ended<A> {
    let mut drain_asked = drain.subscribe();
    // A task of its own: a handler that blocks its thread must not keep the process from ending.
    let mut work = tokio::spawn(executor.run());
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = async {
            tokio::select! {
                () = terminate.received() => {}
                _asked = drain_asked.wait_for(|asked| *asked) => {}
            }
        } => {
            vitals.gate.draining.store(true, Ordering::Release);
            drain.send_replace(true);
            match tokio::time::timeout(budget, work).await {
                Ok(ended) => ended,
                Err(_elapsed) => return Ok(Err(match vitals.live() {
                    Ok(()) => ActorError::Temporary("the drain took longer than cluster.drain_budget".into()),
                    Err(stuck) => ActorError::Wedged(stuck.to_string()),
                })),
            }
        }
    };
    ended.map_err(|died| died.try_into_panic().unwrap_or_else(|cancelled| Box::new(cancelled.to_string())))
}

/// Waits for the lease and keeps it; `false` when asked to end before it was held.
async fn held(
    keeper: &Arc<Keeper>,
    activity: &Activity,
    terminate: &mut Signals,
    mut draining: watch::Receiver<bool>,
) -> Result<bool, ActorError> {
    let show = |reason| activity.show(Status { health: Health::Starting, reason, fields: Vec::new() });
    tokio::select! {
        held = keeper.acquire(show) => held?,
        () = terminate.received() => return Ok(false),
        _asked = draining.wait_for(|asked| *asked) => return Ok(false),
    }
    keeper.keep()?;
    Ok(true)
}

/// Joins as a hidden node that answers nothing and counts nowhere, and waits until all processes on this host and behind the
/// seeds are in view, or for 3 s: some of them may be down.
pub async fn attach(config: &ClusterConfig) -> Result<Cluster, ActorError> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let identity = Identity::new(alys_proto::Role::Debug, "debug");
    let (cluster, _no_files) = connect(config, &identity, &Arc::default(), true).await?;
    let expected = mesh::live_peers(&config.run_dir);
    // An entry stands for one process, or for the replicas of one role.
    let elsewhere = config.mesh.as_ref().map_or(0, |mesh| mesh.seeds.len());
    let mut changes = cluster.changes();
    let all_in_view = async {
        let in_view = |cluster: &Cluster| {
            let known = cluster.instances();
            known.len() >= expected.len().saturating_add(elsewhere)
                && expected.iter().all(|peer| known.iter().any(|instance| instance.identity.incarnation == peer.incarnation))
        };
        while !in_view(&cluster) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // What is not in view by then is wedged or ending; the caller shows what there is.
    let _whole_or_not = tokio::time::timeout(PATIENCE, all_in_view).await;
    Ok(cluster)
}

async fn connect(
    config: &ClusterConfig,
    identity: &Identity,
    doors: &Arc<Doors>,
    hidden: bool,
) -> Result<(Cluster, JoinedFiles), ActorError> {
    let links = Links::new(identity.clone(), &config.mailbox);
    let registry = Registry::start(links.clone(), doors.clone())
        .await
        .map_err(|cause| ActorError::Broken(format!("cannot start the registry: {cause}")))?;
    let files = mesh::join(config, &links, doors, hidden).await?;
    let sender = Sender::new(identity.clone(), config.ask_deadline, Lease::of(identity.role));
    Ok((Cluster { registry, sender, identity: identity.clone(), links }, files))
}

/// Joins the group that tells others of an open door.
pub(crate) async fn announce(kind: Kind, identity: &Identity, epoch: u64) -> Result<(), ActorError> {
    let (sign, _) =
        Sign::spawn(None, Sign, ()).await.map_err(|cause| ActorError::Broken(format!("cannot open a door: {cause}")))?;
    ractor::pg::join_scoped(SCOPE.into(), group_of(kind, identity, epoch), vec![sign.get_cell()]);
    Ok(())
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

fn signals() -> Result<Signals, ActorError> {
    let listen = |kind| signal(kind).map_err(|cause| ActorError::Broken(format!("cannot listen for signals: {cause}")));
    Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
}

impl Signals {
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
