//! The metrics that all roles have.

use std::time::Duration;

use alys_proto::Lane;
use alys_proto::cluster::Health;
use documented::DocumentedFields;
use serde::Serialize;

use super::{Distributions, Figure, Labelled, RoleMetrics as _};
use crate::certificate;
use crate::identity::Identity;
use crate::mailbox::Figures;
use crate::process;
use crate::vitals::{Vitals, name_of};

/// The shell's figures of one process.
#[derive(Debug, Default, Serialize, DocumentedFields)]
pub(crate) struct Shell {
    /// Always 1. Its labels say which start of the instance this is, and of which program.
    instance_info: Labelled,
    /// When this process started, Unix time in seconds. It changes with every restart.
    started_timestamp_seconds: f64,
    /// 1 for the state that the process is in: starting, ready, degraded, wedged, draining or frozen.
    health: Labelled,
    /// 1 while there is progress, as `/livez` says.
    live: bool,
    /// 1 while it serves, as `/readyz` says.
    ready: bool,
    /// Messages that wait in the mailbox.
    mailbox_depth: Labelled,
    /// Age of the oldest message that waits, in seconds; 0 when none does.
    mailbox_oldest_seconds: Labelled,
    /// Most messages that ever waited at once since the start.
    mailbox_high_water: usize,
    /// Messages that may wait.
    mailbox_capacity: usize,
    /// Bytes of bodies that wait.
    mailbox_bytes: usize,
    /// Bytes of bodies that may wait.
    mailbox_capacity_bytes: usize,
    /// Messages whose handler ended.
    messages_handled_total: Labelled,
    /// Messages whose handler ended with an error, which ends the process.
    messages_failed_total: Labelled,
    /// Messages that fell out of a full mailbox for newer ones.
    messages_dropped_total: Labelled,
    /// Messages that were not handled, by reason: busy, not_ready, unknown, malformed, unauthorised, too_late (expired
    /// in the mailbox), fenced.
    messages_refused_total: Labelled,
    /// Time that handlers took, in seconds.
    message_handling_seconds: Distributions,
    /// How long the message in hand has been handled, in seconds; 0 between messages.
    in_flight_seconds: f64,
    /// Epoch of the lease under which the role acts; 0 while it waits for it. Only of roles that need one.
    lease_epoch: Option<u64>,
    /// Without a renewal the process stops itself after so many seconds.
    lease_remaining_seconds: Option<f64>,
    /// Open links to other processes, by their role.
    links: Labelled,
    /// Streams that were turned away: crowd (too many handshakes of one address), stranger (not authenticated), rogue (a role
    /// that its certificate does not allow), unfit (no hello of this cluster in time, or a link stands).
    link_streams_refused_total: Labelled,
    /// Messages lost on links: returned (a peer did not take what nobody waits for), cut_off (waited when the link ended),
    /// malformed (no message at all).
    link_messages_lost_total: Labelled,
    /// When a certificate of this process ends, Unix time in seconds.
    certificate_expiry_timestamp_seconds: Labelled,
    /// Resident memory.
    process_resident_bytes: u64,
    /// Processor time used, user and system, in seconds.
    process_cpu_seconds_total: f64,
    /// Open file descriptors.
    process_open_fds: u64,
    /// File descriptors that the process may open.
    process_max_fds: u64,
    /// Threads of the process.
    process_threads: u64,
}

impl Shell {
    /// Takes the figures now.
    pub(crate) fn of(vitals: &Vitals) -> Self {
        let identity = &vitals.identity;
        let mailbox = vitals.mailbox();
        let usage = process::usage();
        let (health, _) = vitals.health();
        let lease = vitals.lease.show();
        let mut shell = Self {
            instance_info: instance_info(identity),
            started_timestamp_seconds: Duration::from_millis(identity.started_millis).as_secs_f64(),
            health: by_state(health),
            live: vitals.live().is_ok(),
            ready: vitals.ready().is_ok(),
            in_flight_seconds: vitals.in_flight().map_or(0.0, |(_, age)| age.as_secs_f64()),
            lease_epoch: lease.as_ref().map(|lease| lease.epoch),
            lease_remaining_seconds: lease.map(|lease| Duration::from_millis(lease.remaining_millis).as_secs_f64()),
            links: Labelled::new("peer", vitals.links_by_role()),
            link_streams_refused_total: Labelled::new("why", vitals.links.refused()),
            link_messages_lost_total: Labelled::new("how", vitals.links.lost()),
            certificate_expiry_timestamp_seconds: Labelled::new(
                "certificate",
                vitals.certificate.as_deref().and_then(certificate::expiry).map(|end| ("mesh", end)),
            ),
            process_resident_bytes: usage.resident_bytes,
            process_cpu_seconds_total: Duration::from_millis(usage.cpu_millis).as_secs_f64(),
            process_open_fds: process::open_files(),
            process_max_fds: process::max_files(),
            process_threads: process::threads(),
            ..Self::default()
        };
        shell.put_mailbox(&mailbox);
        shell.put_messages(vitals);
        shell
    }

    /// Those of a process that is no role of the mesh: it has neither mailbox nor links nor lease.
    pub(crate) fn without_mesh(identity: &Identity, health: Health, live: bool, ready: bool) -> Vec<Figure> {
        let usage = process::usage();
        let shell = Self {
            instance_info: instance_info(identity),
            started_timestamp_seconds: Duration::from_millis(identity.started_millis).as_secs_f64(),
            health: by_state(health),
            live,
            ready,
            process_resident_bytes: usage.resident_bytes,
            process_cpu_seconds_total: Duration::from_millis(usage.cpu_millis).as_secs_f64(),
            process_open_fds: process::open_files(),
            process_max_fds: process::max_files(),
            process_threads: process::threads(),
            ..Self::default()
        };
        let has = |name: &str| name.starts_with("process_") || WITHOUT_MESH.contains(&name);
        shell.figures().into_iter().filter(|figure| has(figure.name)).collect()
    }

    fn put_mailbox(&mut self, figures: &Figures) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.mailbox_depth = Labelled::new("lane", figures.by_lane.map(|(lane, depth)| (lane_name(lane), count(depth))));
        self.mailbox_oldest_seconds = Labelled::new(
            "lane",
            figures.oldest_by_lane.map(|(lane, arrived)| (lane_name(lane), arrived.map_or(0.0, |at| at.elapsed().as_secs_f64()))),
        );
        self.mailbox_high_water = figures.high_water;
        self.mailbox_capacity = figures.capacity;
        self.mailbox_bytes = figures.bytes;
        self.mailbox_capacity_bytes = figures.capacity_bytes;
    }

    fn put_messages(&mut self, vitals: &Vitals) {
        let rows = vitals.gate.counts.rows();
        self.messages_handled_total = Labelled::new("message", rows.iter().map(|(name, row)| (*name, row.handled)));
        self.messages_failed_total = Labelled::new("message", rows.iter().map(|(name, row)| (*name, row.failed)));
        self.messages_dropped_total = Labelled::new("message", rows.iter().map(|(name, row)| (*name, row.dropped)));
        let refused = rows
            .iter()
            .flat_map(|(name, row)| row.refused.iter().map(|(kind, count)| ([(*name).to_owned(), (*kind).to_owned()], *count)));
        self.messages_refused_total = Labelled::by(["message", "kind"], refused);
        let handling = rows.into_iter().filter(|(_, row)| row.handled > 0);
        self.message_handling_seconds = Distributions {
            label: "message".to_owned(),
            histograms: handling.map(|(name, row)| (name.to_owned(), row.handling)).collect(),
        };
    }
}

/// What a process without a mailbox, links and lease has, beside its `process_…`.
const WITHOUT_MESH: [&str; 5] = ["instance_info", "started_timestamp_seconds", "health", "live", "ready"];

fn instance_info(identity: &Identity) -> Labelled {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Labelled::by(["incarnation", "version"], [([identity.incarnation.to_string(), version], 1_u64)])
}

fn by_state(health: Health) -> Labelled {
    Labelled::new("state", HEALTHS.map(|state| (name_of(state), u64::from(state == health))))
}

const HEALTHS: [Health; 6] =
    [Health::Starting, Health::Ready, Health::Degraded, Health::Wedged, Health::Draining, Health::Frozen];

const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control",
        Lane::Normal => "normal",
        Lane::Bulk => "bulk",
    }
}
