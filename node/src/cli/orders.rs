//! `alys restart`, `drain`, `resume` and `scale`: orders to the supervisor, what they hold up, and how they go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alys_cluster::Cluster;
use alys_proto::supervisor::{
    self, DrainRole, GetInstances, Instance, OrderTaken, RestartOutdated, RestartRole, ResumeRole, ScaleRole,
};
use alys_proto::{Refused, Role};
use clap::Args;
use serde_json::json;

use super::args::Place;
use super::status::join;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print, table};

/// How often the supervisor is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// `alys restart`.
#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    /// Instance, as `alys status` names it; a role's name means all its instances
    #[arg(required_unless_present = "outdated")]
    pub instance: Option<String>,
    /// All that run another build or configuration than a start of them would now, one after another
    #[arg(long, conflicts_with = "instance")]
    pub outdated: bool,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// `alys drain` and `resume`.
#[derive(Clone, Debug, Args)]
pub struct OrderArgs {
    /// Instance, as `alys status` names it; a role's name means all its instances
    pub instance: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// `alys scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Role that may have several processes: sync
    pub role: Role,
    /// So many of them; kept until it is scaled again
    pub instances: u32,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// What all orders have.
#[derive(Clone, Debug, Args)]
pub struct How {
    /// Say what would be done and what it would hold up, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until it is done and show how it goes on; exit 75 if it does not get there
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Wait at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait")]
    pub timeout: u64,
    /// Why, for the log
    #[arg(long, default_value = "asked on the command line")]
    pub reason: String,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// What an order leads to, so that its end can be recognised.
#[derive(Clone, Copy)]
enum Goal {
    /// Another process than before, ready.
    Replaced,
    /// Ready.
    Running,
    /// Kept stopped.
    Drained,
    /// Ready if it was started, not known any more if it was ended.
    Scaled,
}

pub(super) async fn restart(place: &Place, args: &RestartArgs) -> Outcome {
    let cluster = join(place).await?;
    let before = kept(&cluster).await?;
    let (supervisor, reason, dry_run) = (cluster.remote::<supervisor::Inbox>(), args.how.reason.clone(), args.how.dry_run);
    let taken = match &args.instance {
        Some(instance) => supervisor.ask(RestartRole { instance: instance.clone(), reason, dry_run }).await,
        None => supervisor.ask(RestartOutdated { reason, dry_run }).await,
    };
    finish(&cluster, &args.how, &before, taken, Goal::Replaced).await
}

pub(super) async fn drain(place: &Place, args: &OrderArgs) -> Outcome {
    let cluster = join(place).await?;
    let asked = DrainRole { instance: args.instance.clone(), reason: args.how.reason.clone(), dry_run: args.how.dry_run };
    let before = kept(&cluster).await?;
    let taken = cluster.remote::<supervisor::Inbox>().ask(asked).await;
    finish(&cluster, &args.how, &before, taken, Goal::Drained).await
}

pub(super) async fn resume(place: &Place, args: &OrderArgs) -> Outcome {
    let cluster = join(place).await?;
    let asked = ResumeRole { instance: args.instance.clone(), reason: args.how.reason.clone(), dry_run: args.how.dry_run };
    let before = kept(&cluster).await?;
    let taken = cluster.remote::<supervisor::Inbox>().ask(asked).await;
    finish(&cluster, &args.how, &before, taken, Goal::Running).await
}

pub(super) async fn scale(place: &Place, args: &ScaleArgs) -> Outcome {
    let cluster = join(place).await?;
    let asked = ScaleRole {
        role: args.role.into(),
        instances: args.instances,
        reason: args.how.reason.clone(),
        dry_run: args.how.dry_run,
    };
    let before = kept(&cluster).await?;
    let taken = cluster.remote::<supervisor::Inbox>().ask(asked).await;
    finish(&cluster, &args.how, &before, taken, Goal::Scaled).await
}

async fn finish(
    cluster: &Cluster,
    how: &How,
    before: &BTreeMap<String, Instance>,
    taken: Result<OrderTaken, Refused>,
    goal: Goal,
) -> Outcome {
    let taken = taken.map_err(refused)?;
    let began = Instant::now();
    if how.wait {
        wait(cluster, how, before, &taken, goal).await?;
    }
    if how.output == Output::Json {
        return table::json(&as_json(&taken, how, began.elapsed()));
    }
    print(&text(&taken, how.dry_run));
    Ok(())
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Unreachable(_) => Failure::temporary("the supervisor is not running")
            .help("`alys up` starts a node with its supervisor, `alys role supervisor` one alone"),
        passing if passing.is_passing() => Failure::temporary(passing),
        other => Failure::usage(other),
    }
}

/// What the supervisor keeps, by name.
async fn kept(cluster: &Cluster) -> Outcome<BTreeMap<String, Instance>> {
    let answer = cluster.remote::<supervisor::Inbox>().ask(GetInstances {}).await.map_err(refused)?;
    Ok(answer.instances.into_iter().map(|instance| (instance.name.clone(), instance)).collect())
}

/// Waits until every instance that the order changes is where it should be, and tells each change on standard error.
async fn wait(cluster: &Cluster, how: &How, before: &BTreeMap<String, Instance>, taken: &OrderTaken, goal: Goal) -> Outcome {
    let began = Instant::now();
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let changing: Vec<&str> = taken.steps.iter().filter(|step| step.changes).map(|step| step.instance.as_str()).collect();
    loop {
        // A supervisor that restarts itself is away for a moment.
        let now = kept(cluster).await.unwrap_or_default();
        for name in &changing {
            let state = now.get(*name).map_or("gone", |instance| instance.state.as_str());
            if !now.is_empty() && shown.get(*name).is_none_or(|last| last != state) {
                eprintln!("{:>7.2}s  {name} {state}", began.elapsed().as_secs_f64());
                shown.insert((*name).to_owned(), state.to_owned());
            }
        }
        if !now.is_empty() && changing.iter().all(|name| reached(goal, name, before, &now)) {
            return Ok(());
        }
        if let Some(stuck) = changing.iter().filter_map(|name| now.get(*name)).find(|instance| instance.state == "quarantined") {
            return Err(Failure::temporary(format!("{} is quarantined: {}", stuck.name, stuck.last_exit))
                .help(format!("its log says why; `alys resume {}` tries it again", stuck.name)));
        }
        if began.elapsed() >= Duration::from_secs(how.timeout) {
            return Err(
                Failure::temporary(format!("not done after {} s", how.timeout)).help("`alys status` shows how it goes on")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn reached(goal: Goal, name: &str, before: &BTreeMap<String, Instance>, now: &BTreeMap<String, Instance>) -> bool {
    let instance = now.get(name);
    let is = |state: &str| instance.is_some_and(|instance| instance.state == state);
    let process = |all: &BTreeMap<String, Instance>| all.get(name).map(|instance| (instance.pid, instance.incarnation.clone()));
    match goal {
        Goal::Replaced => is("running") && process(before) != process(now),
        Goal::Running => is("running"),
        Goal::Drained => is("drained"),
        Goal::Scaled if before.contains_key(name) => instance.is_none(),
        Goal::Scaled => is("running"),
    }
}

fn as_json(taken: &OrderTaken, how: &How, waited: Duration) -> serde_json::Value {
    let steps: Vec<_> = taken
        .steps
        .iter()
        .map(|step| {
            json!({ "instance": step.instance, "state": step.state, "action": step.action, "changes": step.changes, "owner": step.owner })
        })
        .collect();
    let blocked: Vec<_> =
        taken.blocked.iter().map(|blocked| json!({ "role": blocked.role().name(), "needs": blocked.needs().name() })).collect();
    json!({
        "dry_run": how.dry_run,
        "done": how.wait,
        "seconds": if how.wait { waited.as_secs_f64() } else { 0.0 },
        "decision": taken.decision,
        "steps": steps,
        "blocked": blocked,
        "messages": taken.messages,
        "operations": taken.operations,
    })
}

fn text(taken: &OrderTaken, dry_run: bool) -> String {
    let mut text = String::new();
    if dry_run {
        text.push_str("dry run: nothing is changed\n\n");
    }
    if taken.steps.is_empty() {
        text.push_str(&format!("{}\n", taken.decision));
        return text;
    }
    let rows: Vec<Vec<String>> = taken
        .steps
        .iter()
        .map(|step| vec![step.instance.clone(), step.owner.clone(), unless_empty(&step.state), step.action.clone()])
        .collect();
    text.push_str(&table(&["instance", "owner", "state", "action"], &rows));
    let mut section = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}\n  {}\n", lines.join("\n  ")));
        }
    };
    let blocked: Vec<String> =
        taken.blocked.iter().map(|blocked| format!("{:<8} needs {}", blocked.role().name(), blocked.needs().name())).collect();
    section("held up meanwhile", &blocked);
    section("users notice", &taken.operations);
    if dry_run && !taken.messages.is_empty() {
        section("questions that wait until their deadline, and news that is sent again", &[taken.messages.join(", ")]);
    }
    text
}

fn unless_empty(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(all: &[(&str, u32, &str)]) -> BTreeMap<String, Instance> {
        let instance = |(name, pid, state): &(&str, u32, &str)| {
            let instance = Instance { name: (*name).into(), pid: *pid, state: (*state).into(), ..Instance::default() };
            ((*name).to_owned(), instance)
        };
        all.iter().map(instance).collect()
    }

    #[test]
    fn each_goal_is_recognised() {
        let before = instances(&[("sync", 7, "running"), ("sync-2", 8, "running")]);
        let table = [
            (Goal::Replaced, ("sync", 7, "running"), false),
            (Goal::Replaced, ("sync", 9, "starting"), false),
            (Goal::Replaced, ("sync", 9, "running"), true),
            (Goal::Drained, ("sync", 0, "draining"), false),
            (Goal::Drained, ("sync", 0, "drained"), true),
            (Goal::Running, ("sync", 7, "running"), true),
            (Goal::Scaled, ("sync-3", 0, "starting"), false),
            (Goal::Scaled, ("sync-3", 9, "running"), true),
        ];
        for (goal, now, expected) in table {
            assert_eq!(reached(goal, now.0, &before, &instances(&[now])), expected, "{now:?}");
        }
        assert!(reached(Goal::Scaled, "sync-2", &before, &instances(&[("sync", 7, "running")])), "scaled away");
    }

    #[test]
    fn people_read_what_is_held_up() {
        let taken = OrderTaken {
            steps: vec![supervisor::Step {
                instance: "chain".into(),
                state: "running".into(),
                action: "drain, then start again".into(),
                changes: true,
                owner: "local".into(),
            }],
            blocked: vec![supervisor::Blocked { role: Role::Bridge.into(), needs: Role::Chain.into() }],
            messages: vec!["GetChainHead".into()],
            operations: vec!["new blocks wait".into()],
            ..OrderTaken::default()
        };
        assert_eq!(
            text(&taken, true),
            "dry run: nothing is changed\n\nINSTANCE  OWNER  STATE    ACTION\nchain     local  running  drain, then start again\n\
             \nheld up meanwhile\n  bridge   needs chain\n\nusers notice\n  new blocks wait\n\
             \nquestions that wait until their deadline, and news that is sent again\n  GetChainHead\n"
        );
    }
}
