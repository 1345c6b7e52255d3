//! The systemd of this host, through systemctl(1): it speaks D-Bus as the supervisor's user, so polkit decides what it may.

use std::time::Duration;

use alys_proto::Role;
use tokio::process::Command;

use crate::core::platform::Action;

/// A stop may take as long as the unit's `TimeoutStopSec`; we only hand the job over.
const PATIENCE: Duration = Duration::from_secs(10);

/// The unit of an instance: `alys-storage.service`, `alys-sync@2.service`.
pub fn unit(role: Role, instance: &str) -> String {
    match instance.strip_prefix(role.name()).and_then(|rest| rest.strip_prefix('-')) {
        Some(number) => format!("alys-{role}@{number}.service"),
        None => format!("alys-{role}.service"),
    }
}

/// Hands a job to systemd.
///
/// # Errors
/// It refused, did not answer, or is not there; the text says which.
pub async fn tell(action: Action, role: Role, instance: &str) -> Result<(), String> {
    let unit = unit(role, instance);
    let mut command = Command::new("systemctl");
    command.args(["--no-ask-password", "--no-block", action.word(), &unit]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    match output {
        Err(_elapsed) => Err(format!("systemctl {} {unit} did not answer within {PATIENCE:?}", action.word())),
        Ok(Err(cause)) => Err(format!("systemctl {} {unit}: {cause}", action.word())),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("systemctl {} {unit}: {} ({})", action.word(), said.trim(), output.status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_they_are_generated() {
        assert_eq!(unit(Role::Storage, "storage"), "alys-storage.service");
        assert_eq!(unit(Role::Sync, "sync-2"), "alys-sync@2.service");
    }
}
