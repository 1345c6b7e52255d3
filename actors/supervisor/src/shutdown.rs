//! The end of everything: all children in reverse start order, each phase with its budget.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::actor::SupervisorActor;
use crate::core::drain::{Node, phases};

impl SupervisorActor {
    /// Ends all children in reverse start order; SIGKILL for those that outlast their phase.
    pub(crate) async fn drain(&mut self) {
        let Some(mut children) = self.children.take() else { return };
        let nodes: Vec<Node<'_>> =
            self.plan.children.iter().map(|child| Node { name: &child.name, role: child.role, after: &child.after }).collect();
        let began = Instant::now();
        for phase in phases(&nodes, self.config.phase_budget) {
            let mut group = children.running();
            group.retain(|(name, _)| phase.names.contains(name));
            for (name, pid) in &group {
                children.signal(name, *pid, Signal::TERM);
            }
            if children.wait(&group, began + phase.until).await {
                continue;
            }
            for (name, pid) in children.left(&group) {
                tracing::warn!(instance = name, pid, "did not drain in time: killed");
                self.plan.console.line(self.now(), &format!("{name} did not drain in time: killed"));
                children.signal(&name, pid, Signal::KILL);
            }
            // SIGKILL needs no consent; the kernel may need a moment to reap a large process.
            children.wait(&group, Instant::now() + Duration::from_secs(1)).await;
        }
        children.close();
        self.plan.console.line(self.now(), &format!("stopped in {} ms", began.elapsed().as_millis()));
    }
}
