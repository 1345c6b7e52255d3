//! The supervisor role's own metrics.

use alys_cluster::metrics::Labelled;
use documented::DocumentedFields;
use serde::Serialize;

use crate::core::state::{Instance, Phase};

/// What the supervisor role shows beside the shell's metrics. Its children are a list of the configuration.
#[derive(Clone, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Children, whatever they do now.
    children: usize,
    /// Children that are ready.
    children_running: usize,
    /// 1 for a child that only a person starts again.
    child_quarantined: Labelled,
    /// Starts of a child after its first.
    child_restarts_total: Labelled,
}

impl Metrics {
    pub(crate) fn of(children: &[Instance]) -> Self {
        let each = |number: fn(&Instance) -> u64| {
            Labelled::new("child", children.iter().map(|child| (child.name.as_str(), number(child))))
        };
        Self {
            children: children.len(),
            children_running: children.iter().filter(|child| child.phase == Phase::Running).count(),
            child_quarantined: each(|child| u64::from(child.phase == Phase::Quarantined)),
            child_restarts_total: each(|child| u64::from(child.restarts)),
        }
    }
}
