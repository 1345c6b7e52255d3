//! What people have ordered and what must outlive the supervisor: drains and numbers of processes.

use std::collections::{BTreeMap, BTreeSet};

use alys_proto::Role;
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::orders::MOST_INSTANCES;
use crate::supervision::{RoleName, Supervision};

/// Orders that hold until they are taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// Instances that are kept stopped.
    pub drained: BTreeSet<String>,
    /// Processes of roles that somebody has scaled.
    pub instances: BTreeMap<RoleName, u32>,
}

impl Desired {
    /// Takes note of what an order does.
    pub fn note(&mut self, input: &Input) {
        match input {
            Input::DrainAsked { name } => {
                self.drained.insert(name.clone());
            }
            Input::ResumeAsked { name } | Input::Removed { name } => {
                self.drained.remove(name);
            }
            _ => {}
        }
    }

    /// Processes of a role that should run.
    pub fn count(&self, supervision: &Supervision, role: Role) -> u32 {
        let ordered = self.instances.get(&RoleName(role)).copied();
        ordered.unwrap_or_else(|| supervision.instances(role)).clamp(1, MOST_INSTANCES)
    }
}
