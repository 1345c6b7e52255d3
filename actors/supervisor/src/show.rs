//! Instances and orders as they travel.

use alys_proto::Role;
use alys_proto::supervisor::{Blocked, Instance as InstanceReply, OrderTaken, Step as StepReply};

use crate::core::impact;
use crate::core::instance::{Instance, Phase};
use crate::core::orders::Step;
use crate::core::owner::Owner;

/// The supervisor itself.
pub(crate) fn own(name: &str) -> InstanceReply {
    InstanceReply {
        name: name.to_owned(),
        role: Role::Supervisor.into(),
        pid: std::process::id(),
        owner: "self".to_owned(),
        state: Phase::Running.name().to_owned(),
        restarts: 0,
        last_exit: String::new(),
        incarnation: Vec::new(),
        outdated: String::new(),
    }
}

/// A child of ours.
pub(crate) fn instance(instance: &Instance) -> InstanceReply {
    InstanceReply {
        name: instance.name.clone(),
        role: instance.role.unwrap_or(Role::Unspecified).into(),
        pid: instance.pid.unwrap_or(0),
        owner: Owner::Local.name().to_owned(),
        state: instance.phase.name().to_owned(),
        restarts: instance.restarts,
        last_exit: instance.last_exit.clone(),
        incarnation: Vec::new(),
        outdated: String::new(),
    }
}

/// What is done to one instance.
pub(crate) fn step(step: &Step) -> StepReply {
    StepReply {
        instance: step.name.clone(),
        state: step.phase.name().to_owned(),
        action: step.action.to_owned(),
        changes: step.input.is_some(),
        owner: Owner::Local.name().to_owned(),
    }
}

/// An order with what it holds up. `away`: the role that nobody serves meanwhile; `None` when somebody goes on.
pub(crate) fn order(steps: Vec<StepReply>, away: Option<Role>) -> OrderTaken {
    let lines: Vec<String> = steps.iter().map(|step| format!("{}: {}", step.instance, step.action)).collect();
    let mut taken = OrderTaken { decision: lines.join("; "), steps, ..OrderTaken::default() };
    if let Some(role) = away {
        let blocked = impact::blocked(role).into_iter();
        taken.blocked = blocked.map(|(role, needs)| Blocked { role: role.into(), needs: needs.into() }).collect();
        taken.messages = impact::messages(role).into_iter().map(str::to_owned).collect();
        taken.operations = impact::operations(role).iter().map(|text| (*text).to_owned()).collect();
    }
    taken
}
