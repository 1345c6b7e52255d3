//! What is known of every instance at one moment, and how it is known. Plain values: the same for a live cluster and for a
//! snapshot that is opened months later.

use alys_proto::cluster::{self, Health, Observation};
use alys_proto::{Lane, Role, supervisor};
use serde::{Deserialize, Serialize};

/// All instances at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// When, Unix milliseconds.
    pub(super) unix_millis: u64,
    /// By role in start order, then by name.
    pub(super) instances: Vec<Instance>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instance {
    /// Its name: the role's for singletons.
    pub(super) instance: String,
    /// What it does; `governance` is no role of the mesh.
    pub(super) role: String,
    /// How the facts were got.
    pub(super) how: How,
    /// The start of it that is meant, 16 hexadecimal digits; empty when unknown.
    pub(super) incarnation: String,
    /// The last thing it said of itself.
    pub(super) vitals: Option<Vitals>,
    /// What it queues and handles; the last it said.
    pub(super) mailbox: Option<Mailbox>,
    /// What the supervisor says of it.
    pub(super) kept: Option<Kept>,
}

/// How facts were got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// It answered just now.
    Alive,
    /// It is in the mesh but did not answer.
    Timeout {
        /// Milliseconds since it last did; none: never to us.
        age_millis: Option<u64>,
    },
    /// It is gone. What is shown is the last that was seen.
    PostMortem {
        /// How it ended, as far as anybody knows.
        reason: String,
    },
}

/// A process and its role's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Vitals {
    /// Process id on its host.
    pub(super) pid: u32,
    /// Its host.
    pub(super) host: String,
    /// `ready`, `degraded`, …
    pub(super) health: String,
    /// Why it is not ready.
    pub(super) health_reason: String,
    /// Of the program.
    pub(super) version: String,
    /// Start, Unix milliseconds.
    pub(super) started_unix_millis: u64,
    /// Memory.
    pub(super) resident_bytes: u64,
    /// Processor time.
    pub(super) cpu_millis: u64,
    /// The role's own snapshot.
    pub(super) status: Vec<(String, String)>,
    /// How old that is.
    pub(super) status_age_millis: u64,
    /// Roles it is linked with: role, incarnation, transport.
    pub(super) links: Vec<(String, String, String)>,
}

/// A mailbox and its executor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in cluster.proto, which explains them")]
pub(super) struct Mailbox {
    pub(super) depth: u64,
    pub(super) high_water: u64,
    pub(super) capacity: u64,
    pub(super) bytes: u64,
    pub(super) oldest_millis: u64,
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
    pub(super) expired: u64,
    pub(super) malformed: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
    pub(super) in_flight: String,
    pub(super) in_flight_from: String,
    pub(super) in_flight_id: String,
    pub(super) busy_millis: u64,
    pub(super) waiting_on: String,
    pub(super) waits: Vec<Wait>,
    pub(super) queued: Vec<(String, u64)>,
    pub(super) lanes: Vec<(String, u64)>,
    pub(super) frozen: Option<Frozen>,
    pub(super) taps: u32,
}

/// A question without an answer yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wait {
    /// Role that is asked.
    pub(super) role: String,
    /// What it is asked.
    pub(super) name: String,
    /// For how long.
    pub(super) age_millis: u64,
    /// The handler itself waits, so the mailbox does.
    pub(super) holds_mailbox: bool,
}

/// A mailbox that a debugger holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frozen {
    /// Which debugger.
    pub(super) who: String,
    /// Since when.
    pub(super) age_millis: u64,
    /// Until it thaws by itself.
    pub(super) lease_millis: u64,
    /// Messages that were let through.
    pub(super) stepped: u64,
}

/// What the supervisor says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// 0: not running.
    pub(super) pid: u32,
    /// Who restarts it.
    pub(super) owner: String,
    /// `running`, `quarantined`, …
    pub(super) state: String,
    /// So often.
    pub(super) restarts: u32,
    /// How it last ended.
    pub(super) last_exit: String,
}

impl Facts {
    /// The instance of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.instance == name)
    }
}

impl Instance {
    /// One word for its state.
    pub(super) fn health(&self) -> &str {
        match (&self.how, &self.vitals, &self.kept) {
            (How::Alive, Some(vitals), _) => &vitals.health,
            (How::Alive, None, Some(kept)) => &kept.state,
            (How::Alive, None, None) => "unknown",
            (How::Timeout { .. }, _, _) => "silent",
            (How::PostMortem { .. }, _, _) => "gone",
        }
    }
}

impl From<&Observation> for Vitals {
    fn from(seen: &Observation) -> Self {
        let role = |number: i32| Role::try_from(number).unwrap_or(Role::Unspecified).name().to_owned();
        Self {
            pid: seen.pid,
            host: seen.host.clone(),
            health: health_name(seen.health()).to_owned(),
            health_reason: seen.health_reason.clone(),
            version: seen.version.clone(),
            started_unix_millis: seen.started_unix_millis,
            resident_bytes: seen.resident_bytes,
            cpu_millis: seen.cpu_millis,
            status: seen.status.iter().map(|field| (field.name.clone(), field.value.clone())).collect(),
            status_age_millis: seen.status_age_millis,
            links: seen
                .links
                .iter()
                .map(|link| (role(link.role), hex::encode(&link.incarnation), link.transport.clone()))
                .collect(),
        }
    }
}

impl From<&cluster::Mailbox> for Mailbox {
    fn from(seen: &cluster::Mailbox) -> Self {
        let from = if seen.in_flight_sender == 0 { String::new() } else { seen.in_flight_sender().name().to_owned() };
        Self {
            depth: seen.depth,
            high_water: seen.high_water,
            capacity: seen.capacity,
            bytes: seen.bytes,
            oldest_millis: seen.oldest_millis,
            handled: seen.handled,
            failed: seen.failed,
            refused: seen.refused_busy.saturating_add(seen.refused_other),
            dropped: seen.dropped,
            expired: seen.expired,
            malformed: seen.malformed,
            p50_micros: seen.p50_micros,
            p99_micros: seen.p99_micros,
            in_flight: seen.in_flight.clone(),
            in_flight_from: from,
            in_flight_id: hex::encode(&seen.in_flight_id),
            busy_millis: seen.busy_millis,
            waiting_on: seen.waiting_on.clone(),
            waits: seen.waits.iter().map(Wait::from).collect(),
            queued: seen.queued.iter().map(|queued| (queued.name.clone(), queued.count)).collect(),
            lanes: seen.lanes.iter().map(|lane| (lane_name(lane.lane()).to_owned(), lane.depth)).collect(),
            frozen: seen.frozen.as_ref().map(Frozen::from),
            taps: seen.taps,
        }
    }
}

impl From<&cluster::Wait> for Wait {
    fn from(seen: &cluster::Wait) -> Self {
        Self {
            role: seen.service.clone(),
            name: seen.name.clone(),
            age_millis: seen.age_millis,
            holds_mailbox: seen.holds_mailbox,
        }
    }
}

impl From<&cluster::Freeze> for Frozen {
    fn from(seen: &cluster::Freeze) -> Self {
        Self { who: seen.who.clone(), age_millis: seen.age_millis, lease_millis: seen.lease_millis, stepped: seen.stepped }
    }
}

impl From<&supervisor::Instance> for Kept {
    fn from(kept: &supervisor::Instance) -> Self {
        Self {
            pid: kept.pid,
            owner: kept.owner.clone(),
            state: kept.state.clone(),
            restarts: kept.restarts,
            last_exit: kept.last_exit.clone(),
        }
    }
}

/// As `alys status` writes it.
pub(crate) fn health_name(health: Health) -> &'static str {
    match health {
        Health::Unspecified => "unknown",
        Health::Starting => "starting",
        Health::Ready => "ready",
        Health::Degraded => "degraded",
        Health::Wedged => "wedged",
        Health::Draining => "draining",
        Health::Frozen => "frozen",
    }
}

/// As people write it.
pub(super) const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control",
        Lane::Normal => "normal",
        Lane::Bulk => "bulk",
    }
}
