//! Outdated instances: who is, and their replacement one after another.

use std::collections::BTreeMap;
use std::time::Duration;

use alys_cluster::{ActorError, LocalSender};
use alys_proto::Role;
use alys_proto::role::ROLES;
use alys_proto::supervisor::{OrderTaken, RestartOutdated, Step as StepReply};
use alys_proto::wire::Refused;

use crate::actor::{Local, SupervisorActor};
use crate::core::generation::{Age, Difference, Generation};
use crate::core::input::{Input, View};
use crate::core::office::Office;
use crate::core::roll::{Next, Roll, Turn};
use crate::io::look::Seen;
use crate::show;

/// What is known of generations, and the roll that is under way.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    turns: BTreeMap<String, Turn>,
    roll: Option<(Roll, String)>,
    /// What a roll could not bring an instance to: not tried again by itself until something else is wanted.
    given_up: BTreeMap<String, Generation>,
}

impl Rolling {
    fn difference(&self, name: &str) -> Option<&Difference> {
        match &self.turns.get(name)?.age {
            Age::Outdated(difference) => Some(difference),
            Age::Unknown | Age::Current | Age::CannotStart(_) => None,
        }
    }

    /// In what an instance is outdated; empty when it is not, or does not say.
    pub(crate) fn outdated(&self, name: &str) -> String {
        self.difference(name).map(ToString::to_string).unwrap_or_default()
    }
}

/// An instance that this supervisor keeps or looks after.
struct Known {
    name: String,
    role: Role,
    owner: &'static str,
    state: &'static str,
    patience: Duration,
}

impl SupervisorActor {
    /// In start order.
    fn known(&self) -> Vec<Known> {
        let patience = |role| {
            let policy = self.supervision.policy(Some(role));
            policy.grace.saturating_add(policy.join_within)
        };
        let children = self.state.instances().iter().filter_map(|instance| {
            let role = instance.role?;
            // One that is no process of ours is nobody's whom we could replace.
            let state = instance.pid.map(|_| instance.phase.name())?;
            Some(Known { name: instance.name.clone(), role, owner: "local", state, patience: patience(role) })
        });
        let wards = self.wards.iter().filter(|ward| ward.is_there()).map(|ward| Known {
            name: ward.name.clone(),
            role: ward.role,
            owner: ward.owner.name(),
            state: ward.phase.name(),
            patience: patience(ward.role),
        });
        let mut known: Vec<Known> = children.chain(wards).collect();
        let position = |role: Role| ROLES.iter().position(|other| *other == role);
        known.sort_by(|a, b| (position(a.role), &a.name).cmp(&(position(b.role), &b.name)));
        known
    }

    /// The order of a person.
    pub(crate) fn restart_outdated(&mut self, asked: &RestartOutdated) -> Result<OrderTaken, Refused> {
        self.may_be_ordered()?;
        if self.office() == Office::Alone {
            let text = "storage does not say which supervisor acts: `alys restart <role>` restarts one role without it";
            return Err(Refused::Failed(text.to_owned()));
        }
        if self.rolling.roll.is_some() && !asked.dry_run {
            return Err(Refused::Busy("outdated instances are being replaced already".into()));
        }
        let outdated = |known: &Known| !self.rolling.outdated(&known.name).is_empty();
        let steps: Vec<StepReply> = self
            .known()
            .into_iter()
            .filter(outdated)
            .map(|known| StepReply {
                action: format!("drain, then start again: another {}", self.rolling.outdated(&known.name)),
                instance: known.name,
                state: known.state.to_owned(),
                changes: true,
                owner: known.owner.to_owned(),
            })
            .collect();
        let names: Vec<String> = steps.iter().map(|step| step.instance.clone()).collect();
        let mut taken = show::order(steps, None);
        if names.is_empty() {
            taken.decision = "nothing to do: nothing is outdated".to_owned();
        } else if !asked.dry_run {
            tracing::info!(reason = asked.reason, decision = taken.decision, "ordered");
            self.rolling.given_up.clear();
            self.rolling.roll = Some((Roll::new(names), asked.reason.clone()));
        }
        Ok(taken)
    }

    /// All were looked at.
    pub(crate) fn roll_on(&mut self, local: &LocalSender<Local>, all: &[Seen]) -> Result<(), ActorError> {
        let known = self.known();
        let turns = known.iter().filter_map(|known| {
            let seen = all.iter().find(|seen| seen.identity.role == known.role && seen.identity.instance == known.name)?;
            let said = seen.said.as_ref()?;
            let turn = Turn {
                incarnation: seen.identity.incarnation.0,
                works: said.view == View::Working,
                age: said.age.clone(),
                patience: known.patience,
            };
            Some((known.name.clone(), turn))
        });
        self.rolling.turns = turns.collect();
        match self.office() {
            Office::Acting => {}
            // Whoever acts now sees for itself what is outdated.
            Office::StandingBy => {
                self.rolling.roll = None;
                return Ok(());
            }
            // Storage itself may be the one that is replaced.
            Office::Alone => return Ok(()),
        }
        if self.rolling.roll.is_none() && self.supervision.replace_outdated {
            self.roll_by_itself(&known);
        }
        let Some((mut roll, reason)) = self.rolling.roll.take() else { return Ok(()) };
        match roll.looked(self.now(), |name| self.rolling.turns.get(name).cloned()) {
            Next::Wait => {}
            Next::Restart(name) => {
                self.replace(local, &name, &reason)?;
            }
            Next::Done => {
                tracing::info!("what was outdated is replaced");
                return Ok(());
            }
            Next::Stopped { name, why } => {
                tracing::error!(instance = name, why, "outdated instances are not replaced any further");
                if let Some(difference) = self.rolling.difference(&name) {
                    self.rolling.given_up.insert(name, difference.wanted.clone());
                }
                return Ok(());
            }
        }
        self.rolling.roll = Some((roll, reason));
        Ok(())
    }

    fn roll_by_itself(&mut self, known: &[Known]) {
        let is_new = |name: &String| {
            let wanted = self.rolling.difference(name).map(|difference| &difference.wanted);
            wanted.is_some() && wanted != self.rolling.given_up.get(name)
        };
        let names: Vec<String> = known.iter().map(|known| known.name.clone()).filter(is_new).collect();
        if !names.is_empty() {
            tracing::warn!(instances = names.join(","), "outdated: replaced one after another (supervision.replace_outdated)");
            self.rolling.roll = Some((Roll::new(names), "outdated".to_owned()));
        }
    }

    fn replace(&mut self, local: &LocalSender<Local>, name: &str, reason: &str) -> Result<(), ActorError> {
        tracing::info!(instance = name, outdated = self.rolling.outdated(name), "replaced");
        let now = self.now();
        match self.wards.iter_mut().find(|ward| ward.name == name) {
            Some(ward) => {
                let effects = ward.go(now, true, reason.to_owned());
                self.act_on_wards(local, effects)
            }
            None => self.step(local, Input::RestartAsked { name: name.to_owned() }),
        }
    }
}
