//! The systemd of this host, over D-Bus: a job is handed over and not waited for. The request is made as the supervisor's
//! user, without asking anybody for a password, so polkit decides what it may.
//!
//! | what comes back | so |
//! |---|---|
//! | nobody listens at the system bus | there is none |
//! | nobody on the bus is systemd | this host is run by something else |
//! | `NoSuchUnit` | the unit is not installed here |
//! | `AccessDenied`, `InteractiveAuthorizationRequired` | this user may not |
//! | any other error | as it says |

use std::time::Duration;

use alys_proto::Role;
use zbus::DBusError as _;
use zbus::connection::Builder;

use crate::core::platform::Action;

/// A stop may take as long as the unit's `TimeoutStopSec`; we only hand the job over.
const PATIENCE: Duration = Duration::from_secs(10);
const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// A job that is queued for the unit already is replaced by this one.
const MODE: &str = "replace";

/// Why systemd does not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no bus.
    #[error("there is no system bus to reach systemd ({0}): is dbus installed, and may this process see its socket?")]
    NoBus(String),
    /// There is a bus, and no systemd on it.
    #[error("systemd is not on the system bus ({0}): this host is run by something else")]
    NoSystemd(String),
    /// It knows no such unit.
    #[error("systemd of this host knows no {unit}: the role runs on another host, or its units are not installed")]
    NoUnit {
        /// Which.
        unit: String,
    },
    /// This user may not.
    #[error("this user may not {} {unit}: allow it {RIGHT} in a polkit rule (docs/deploy.md)", .action.word())]
    Forbidden {
        /// What was asked.
        action: Action,
        /// Of which unit.
        unit: String,
    },
    /// Something else.
    #[error("{} {unit}: {said}", .action.word())]
    Refused {
        /// What was asked.
        action: Action,
        /// Of which unit.
        unit: String,
        /// What systemd says.
        said: String,
    },
    /// It did not answer.
    #[error("systemd did not answer to {} {unit} within {PATIENCE:?}", .action.word())]
    Silent {
        /// What was asked.
        action: Action,
        /// Of which unit.
        unit: String,
    },
}

/// What polkit calls it.
const RIGHT: &str = "org.freedesktop.systemd1.manage-units";

/// The unit of an instance: `alys-storage.service`, `alys-sync@2.service`.
pub fn unit(role: Role, instance: &str) -> String {
    match instance.strip_prefix(role.name()).and_then(|rest| rest.strip_prefix('-')) {
        Some(number) => format!("alys-{role}@{number}.service"),
        None => format!("alys-{role}.service"),
    }
}

const fn method(action: Action) -> &'static str {
    match action {
        Action::Start => "StartUnit",
        Action::Restart => "RestartUnit",
        Action::Stop => "StopUnit",
    }
}

/// Hands a job to the systemd of this host.
///
/// # Errors
/// It refused, did not answer, or is not there.
pub async fn tell(action: Action, role: Role, instance: &str) -> Result<(), Fault> {
    tell_on(Builder::system(), action, role, instance).await
}

/// The same over a bus that is named: of another host, in a test.
///
/// # Errors
/// As [`tell`].
pub async fn tell_on(bus: Builder<'_>, action: Action, role: Role, instance: &str) -> Result<(), Fault> {
    let unit = unit(role, instance);
    let asked = async {
        let bus = bus.build().await.map_err(|cause| Fault::NoBus(cause.to_string()))?;
        let told = bus.call_method(Some(SERVICE), OBJECT, Some(MANAGER), method(action), &(unit.as_str(), MODE)).await;
        told.map(drop).map_err(|cause| fault(action, &unit, &cause))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(done) => done,
        Err(_elapsed) => Err(Fault::Silent { action, unit: unit.clone() }),
    }
}

fn fault(action: Action, unit: &str, cause: &zbus::Error) -> Fault {
    match cause {
        zbus::Error::MethodError(name, said, _) => reply(action, unit, name.as_str(), said.as_deref().unwrap_or_default()),
        zbus::Error::FDO(error) => reply(action, unit, error.name().as_str(), error.description().unwrap_or_default()),
        zbus::Error::InputOutput(cause) => Fault::NoBus(cause.to_string()),
        other => Fault::Refused { action, unit: unit.to_owned(), said: other.to_string() },
    }
}

/// By the table, from the name of a D-Bus error.
fn reply(action: Action, unit: &str, name: &str, said: &str) -> Fault {
    let unit = unit.to_owned();
    match name.rsplit('.').next().unwrap_or(name) {
        "NoSuchUnit" => Fault::NoUnit { unit },
        "AccessDenied" | "InteractiveAuthorizationRequired" => Fault::Forbidden { action, unit },
        "ServiceUnknown" | "NameHasNoOwner" => Fault::NoSystemd(said.to_owned()),
        other => Fault::Refused { action, unit, said: if said.is_empty() { other.to_owned() } else { said.to_owned() } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_they_are_generated() {
        assert_eq!(unit(Role::Storage, "storage"), "alys-storage.service");
        assert_eq!(unit(Role::Sync, "sync-2"), "alys-sync@2.service");
        assert_eq!(unit(Role::Sync, "sync"), "alys-sync.service");
        assert_eq!([Action::Start, Action::Restart, Action::Stop].map(method), ["StartUnit", "RestartUnit", "StopUnit"]);
    }

    #[test]
    fn what_systemd_answers_by_the_table() {
        let unit = "alys-chain.service";
        let refused = |said: &str| Fault::Refused { action: Action::Restart, unit: unit.into(), said: said.into() };
        let table = [
            ("org.freedesktop.systemd1.NoSuchUnit", "Unit not found.", Fault::NoUnit { unit: unit.into() }),
            (
                "org.freedesktop.DBus.Error.AccessDenied",
                "Access denied",
                Fault::Forbidden { action: Action::Restart, unit: unit.into() },
            ),
            (
                "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                "",
                Fault::Forbidden { action: Action::Restart, unit: unit.into() },
            ),
            ("org.freedesktop.DBus.Error.ServiceUnknown", "nobody", Fault::NoSystemd("nobody".into())),
            ("org.freedesktop.systemd1.UnitMasked", "Unit is masked.", refused("Unit is masked.")),
            ("org.freedesktop.systemd1.JobTypeNotApplicable", "", refused("JobTypeNotApplicable")),
        ];
        for (name, said, expected) in table {
            assert_eq!(reply(Action::Restart, unit, name, said), expected, "{name}");
        }
    }

    #[test]
    fn an_error_of_the_bus_itself_is_told_apart() {
        let gone = zbus::Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::NotFound.into()));
        assert!(matches!(fault(Action::Stop, "x", &gone), Fault::NoBus(_)));
        let denied = zbus::fdo::Error::AccessDenied("no".into());
        assert!(matches!(fault(Action::Stop, "x", &zbus::Error::FDO(Box::new(denied))), Fault::Forbidden { .. }));
    }
}
