//! `alys status`.

use std::io::IsTerminal as _;
use std::time::Duration;

use alys_cluster::{Cluster, Observed, attach, exit};
use alys_proto::Role;
use alys_proto::cluster::Observation;
use alys_proto::role::ROLES;
use alys_proto::supervisor::{self, GetInstances, Instance};
use alys_supervisor::core::generation::Age;
use alys_supervisor::io::look::age;
use serde::Serialize;
use serde_json::{Map, Value};

use super::args::{Place, Status};
use crate::debug::health_name;
use crate::failure::{Failure, Outcome};
use crate::io::table::{Output, json, print, table};

/// How long a role may take to answer before it is shown as silent.
const DEADLINE: Duration = Duration::from_secs(2);

/// One process of the node.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    role: String,
    instance: String,
    pid: u32,
    incarnation: String,
    health: String,
    reason: String,
    /// `alive`, `timeout`, or `absent`.
    how: &'static str,
    head: Option<u64>,
    mailbox: Option<MailboxRow>,
    /// Only of a role that acts under one.
    lease: Option<LeaseRow>,
    restarts: u32,
    owner: String,
    state: String,
    last_exit: String,
    started_unix_millis: u64,
    resident_bytes: u64,
    cpu_millis: u64,
    version: String,
    /// Build and configuration that it runs.
    generation: String,
    /// In what a start of it would differ now; empty: in nothing, or it does not say.
    outdated: String,
    /// Why a start of it would fail now.
    cannot_start: String,
    status: Map<String, Value>,
}

/// What a holder knows of its lease.
#[derive(Debug, Serialize)]
pub(super) struct LeaseRow {
    /// 0: it waits for it.
    epoch: u64,
    remaining_millis: u64,
}

/// A mailbox in figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MailboxRow {
    pub(super) depth: u64,
    pub(super) capacity: u64,
    pub(super) high_water: u64,
    pub(super) oldest_millis: u64,
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
    pub(super) expired: u64,
    pub(super) malformed: u64,
    pub(super) in_flight: String,
    pub(super) busy_millis: u64,
    pub(super) waiting_on: String,
}

pub(super) async fn run(place: &Place, args: &Status) -> Outcome<u8> {
    let cluster = join(place).await?;
    if let Some(seconds) = args.wait {
        // Whether they became ready shows in the answer below.
        let _ready = tokio::time::timeout(Duration::from_secs(seconds), until_ready(&cluster)).await;
    }
    loop {
        let rows = collect(&cluster).await;
        if args.watch && std::io::stdout().is_terminal() {
            // Clears the screen and goes to its corner.
            print("\u{1b}[2J\u{1b}[H");
        }
        match args.output {
            Output::Json => json(&rows)?,
            Output::Table => print(&text(&rows)),
        }
        if !args.watch {
            return Ok(if rows.iter().all(Row::is_working) { exit::DONE } else { exit::TEMPORARY });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Joins the mesh of the node as a hidden node.
pub(crate) async fn join(place: &Place) -> Outcome<Cluster> {
    let loaded = place.load_live()?;
    let cluster = attach(&loaded.config.cluster).await.map_err(|error| Failure {
        code: error.exit_code(),
        report: eyre::eyre!("cannot join the node's mesh: {error}"),
        help: None,
    })?;
    if cluster.instances().is_empty() {
        return Err(Failure::temporary(format!("no role is running in {}", loaded.config.data_dir.display()))
            .help("start the node with `alys up`, or name its folder with --data-dir"));
    }
    Ok(cluster)
}

async fn until_ready(cluster: &Cluster) {
    while !collect(cluster).await.iter().all(Row::is_working) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn collect(cluster: &Cluster) -> Vec<Row> {
    let (observed, instances) = tokio::join!(cluster.observe_all(DEADLINE), kept(cluster));
    rows(&observed, &instances)
}

/// What the supervisor keeps running. Without one in view nobody waits for its answer.
async fn kept(cluster: &Cluster) -> Vec<Instance> {
    if !cluster.instances().iter().any(|instance| instance.identity.role == Role::Supervisor) {
        return Vec::new();
    }
    let supervisor = cluster.remote::<supervisor::Inbox>();
    supervisor.ask_within(DEADLINE, GetInstances {}).await.map(|answer| answer.instances).unwrap_or_default()
}

/// One row for every live instance, for every one the supervisor keeps, and for every role that nobody knows of.
fn rows(observed: &[Observed], instances: &[Instance]) -> Vec<Row> {
    let mut rows: Vec<Row> = observed.iter().map(seen).collect();
    for instance in instances {
        match rows.iter_mut().find(|row| row.instance == instance.name) {
            Some(row) => row.add(instance),
            None => {
                let mut row = absent(role_name(instance), &instance.name);
                // A plain process has no mailbox: running is all that can be said.
                if instance.state == "running" {
                    row.health = "running".into();
                    row.how = "alive";
                }
                row.add(instance);
                rows.push(row);
            }
        }
    }
    for role in ROLES {
        if !rows.iter().any(|row| row.role == role.name()) {
            rows.push(absent(role.name(), role.name()));
        }
    }
    let position = |row: &Row| ROLES.iter().position(|role| role.name() == row.role).unwrap_or(usize::MAX);
    rows.sort_by(|a, b| (position(a), &a.instance).cmp(&(position(b), &b.instance)));
    rows
}

fn role_name(instance: &Instance) -> &'static str {
    match instance.role() {
        Role::Unspecified => "governance",
        role => role.name(),
    }
}

fn absent(role: &str, instance: &str) -> Row {
    Row {
        role: role.to_owned(),
        instance: instance.to_owned(),
        pid: 0,
        incarnation: String::new(),
        health: "absent".into(),
        reason: String::new(),
        how: "absent",
        head: None,
        mailbox: None,
        lease: None,
        restarts: 0,
        owner: String::new(),
        state: String::new(),
        last_exit: String::new(),
        started_unix_millis: 0,
        resident_bytes: 0,
        cpu_millis: 0,
        version: String::new(),
        generation: String::new(),
        outdated: String::new(),
        cannot_start: String::new(),
        status: Map::new(),
    }
}

fn seen(observed: &Observed) -> Row {
    let identity = &observed.identity;
    let mut row = absent(identity.role.name(), &identity.instance);
    row.incarnation = identity.incarnation.to_string();
    row.started_unix_millis = identity.started_millis;
    match &observed.observation {
        Ok(observation) => row.fill(observation),
        Err(refused) => {
            row.health = "silent".into();
            row.how = "timeout";
            row.reason = refused.to_string();
        }
    }
    row
}

impl Row {
    fn fill(&mut self, observation: &Observation) {
        self.how = "alive";
        self.pid = observation.pid;
        self.health = health_name(observation.health()).to_owned();
        self.reason = observation.health_reason.clone();
        self.resident_bytes = observation.resident_bytes;
        self.cpu_millis = observation.cpu_millis;
        self.version = observation.version.clone();
        self.generation = observation.generation.as_ref().map(generation).unwrap_or_default();
        match age(observation) {
            Age::Outdated(difference) => self.outdated = difference.to_string(),
            Age::CannotStart(why) => self.cannot_start = why,
            Age::Current | Age::Unknown => {}
        }
        self.lease =
            observation.lease.as_ref().map(|lease| LeaseRow { epoch: lease.epoch, remaining_millis: lease.remaining_millis });
        self.mailbox = observation.mailbox.as_ref().map(MailboxRow::new);
        self.status = observation.status.iter().map(|field| (field.name.clone(), Value::from(field.value.clone()))).collect();
        let height = |name: &str| {
            let field = observation.status.iter().find(|field| field.name == name)?;
            field.value.split_whitespace().next()?.parse().ok()
        };
        // Some call it so and some so; a `head` that is a hash is no height.
        self.head = ["head", "height", "head_height"].into_iter().find_map(height);
    }

    fn add(&mut self, instance: &Instance) {
        self.restarts = instance.restarts;
        self.owner = instance.owner.clone();
        self.state = instance.state.clone();
        self.last_exit = instance.last_exit.clone();
        if self.pid == 0 {
            self.pid = instance.pid;
        }
        if self.reason.is_empty() && instance.state != "running" {
            self.reason = format!("{} {}", instance.state, instance.last_exit).trim().to_owned();
        }
    }

    fn is_working(&self) -> bool {
        ["ready", "degraded", "running"].contains(&self.health.as_str())
    }

    fn cells(&self) -> Vec<String> {
        let unless_zero = |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
        vec![
            self.instance.clone(),
            unless_zero(self.pid.into()),
            self.incarnation.get(..8).unwrap_or("-").to_owned(),
            self.health.clone(),
            self.head.map_or("-".to_owned(), |head| head.to_string()),
            self.mailbox.as_ref().map_or("-".to_owned(), |mailbox| mailbox.depth.to_string()),
            self.mailbox.as_ref().map_or("-".to_owned(), |mailbox| mailbox.handled.to_string()),
            self.restarts.to_string(),
            unless_zero(self.resident_bytes.div_ceil(1024 * 1024)),
            self.remark(),
        ]
    }

    /// How far sync is on its way to the head of the others; empty: it is there, or this is not sync.
    fn progress(&self) -> String {
        let field = |name: &str| self.status.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("left") {
            "" | "-" => String::new(),
            left => format!(
                "block {} of {}, {} a second, {left} left",
                field("local_height"),
                field("target_height"),
                field("blocks_per_second")
            ),
        }
    }

    /// How it is, and what a restart of it would change.
    fn remark(&self) -> String {
        let mut remarks = vec![self.reason.clone(), self.progress()];
        if !self.outdated.is_empty() {
            remarks.push(format!("outdated: {}", self.outdated));
        }
        if !self.cannot_start.is_empty() {
            remarks.push(format!("would not start again: {}", self.cannot_start));
        }
        remarks.retain(|remark| !remark.is_empty());
        remarks.join("; ")
    }
}

/// Build and configuration as one word.
fn generation(told: &alys_proto::cluster::Generation) -> String {
    if told.configuration.is_empty() { told.build.clone() } else { format!("{}/{}", told.build, told.configuration) }
}

impl MailboxRow {
    pub(super) fn new(mailbox: &alys_proto::cluster::Mailbox) -> Self {
        Self {
            depth: mailbox.depth,
            capacity: mailbox.capacity,
            high_water: mailbox.high_water,
            oldest_millis: mailbox.oldest_millis,
            handled: mailbox.handled,
            failed: mailbox.failed,
            refused: mailbox.refused_busy.saturating_add(mailbox.refused_other),
            dropped: mailbox.dropped,
            expired: mailbox.expired,
            malformed: mailbox.malformed,
            in_flight: mailbox.in_flight.clone(),
            busy_millis: mailbox.busy_millis,
            waiting_on: mailbox.waiting_on.clone(),
        }
    }
}

fn text(rows: &[Row]) -> String {
    let headings = ["instance", "pid", "incarn.", "health", "head", "mailbox", "handled", "restarts", "mib", "reason"];
    table(&headings, &rows.iter().map(Row::cells).collect::<Vec<_>>())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
