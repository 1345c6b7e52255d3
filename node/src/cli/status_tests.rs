#![allow(clippy::unwrap_used)]

use alys_cluster::{Health, Identity};
use alys_proto::Refused;
use alys_proto::cluster::{Field, Generation, Mailbox};

use super::*;

fn observed(role: Role, observation: Result<Observation, Refused>) -> Observed {
    Observed { identity: Identity::new(role, role.name()), observation }
}

fn chain() -> Observed {
    observed(
        Role::Chain,
        Ok(Observation {
            pid: 42,
            health: Health::Ready.into(),
            mailbox: Some(Mailbox { depth: 3, ..Mailbox::default() }),
            status: [("head", "0xab"), ("height", "17")]
                .map(|(name, value)| Field { name: name.into(), value: value.into() })
                .into(),
            ..Observation::default()
        }),
    )
}

#[test]
fn every_role_has_a_row_whoever_knows_of_it() {
    let instances = [
        Instance {
            name: "engine".into(),
            role: Role::Engine.into(),
            state: "quarantined".into(),
            last_exit: "exit 78".into(),
            ..Instance::default()
        },
        Instance { name: "governance-1".into(), pid: 7, state: "running".into(), ..Instance::default() },
    ];
    let rows = rows(&[chain(), observed(Role::Storage, Err(Refused::TooLate("x".into())))], &instances);
    let shown: Vec<(&str, &str)> = rows.iter().map(|row| (row.instance.as_str(), row.health.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("supervisor", "absent"),
            ("storage", "silent"),
            ("engine", "absent"),
            ("chain", "ready"),
            ("bridge", "absent"),
            ("stream", "absent"),
            ("network", "absent"),
            ("sync", "absent"),
            ("governance-1", "running"),
        ]
    );
    assert_eq!(rows[2].reason, "quarantined exit 78");
    assert_eq!((rows[3].pid, rows[3].head, rows[3].mailbox.as_ref().unwrap().depth), (42, Some(17), 3));
    assert!(!rows[1].is_working() && rows[3].is_working() && rows[8].is_working());
}

#[test]
fn sync_says_how_long_it_will_take() {
    let fields = |left: &str| {
        [("local_height", "120"), ("target_height", "5000"), ("blocks_per_second", "12.3"), ("left", left)]
            .map(|(name, value)| Field { name: name.into(), value: value.into() })
            .into()
    };
    for (left, remark) in [("6m 37s", "block 120 of 5000, 12.3 a second, 6m 37s left"), ("-", "")] {
        let seen = Observation { health: Health::Ready.into(), status: fields(left), ..Observation::default() };
        let rows = rows(&[observed(Role::Sync, Ok(seen))], &[]);
        assert_eq!(rows.iter().find(|row| row.role == "sync").unwrap().remark(), remark);
    }
}

#[test]
fn an_outdated_process_is_told_from_one_that_would_not_start() {
    let with = |on_disk: Option<&str>, fault: &str| {
        let generation = |configuration: &str| Generation { build: "0.1.0+a".into(), configuration: configuration.into() };
        let said = Observation {
            generation: Some(generation("c1")),
            on_disk: on_disk.map(generation),
            on_disk_fault: fault.into(),
            health_reason: "bitcoind is away".into(),
            ..Observation::default()
        };
        let row = seen(&observed(Role::Bridge, Ok(said)));
        (row.generation.clone(), row.remark())
    };
    assert_eq!(with(Some("c1"), ""), ("0.1.0+a/c1".into(), "bitcoind is away".into()));
    assert_eq!(with(Some("c2"), "").1, "bitcoind is away; outdated: configuration");
    assert_eq!(with(None, "no such key").1, "bitcoind is away; would not start again: no such key");
}

#[test]
fn json_names_what_scripts_read() {
    let value = serde_json::to_value(rows(&[chain()], &[])).unwrap();
    let row = value.as_array().unwrap().iter().find(|row| row["role"] == "chain").unwrap();
    for key in ["role", "pid", "incarnation", "health", "head", "mailbox"] {
        assert!(!row[key].is_null(), "{key}");
    }
    assert_eq!(row["mailbox"]["depth"], 3);
    assert_eq!(row["status"]["height"], "17");
}
