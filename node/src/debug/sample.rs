//! A cluster in trouble, for tests: engine waits for storage, storage is frozen, chain is gone, network is silent.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::facts::{Facts, Frozen, How, Instance, Kept, Mailbox, Vitals, Wait};

/// 2026-11-22 10:00:00 UTC.
pub(super) const NOW: u64 = 1_795_341_600_000;

/// Compares with a file of `golden/`. `ALYS_UPDATE_GOLDEN=1` writes it instead.
pub(super) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/debug/golden").join(format!("{name}.txt"));
    if std::env::var_os("ALYS_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs; if it should, run with ALYS_UPDATE_GOLDEN=1. Now it is:\n{text}", path.display());
}

pub(super) fn facts() -> Facts {
    let mut storage = instance("storage", 101, mailbox(7, 40, 812));
    let held = Frozen { who: "ada@tower (pid 7)".into(), age_millis: 3_000, lease_millis: 4_200, stepped: 1 };
    let in_storage = storage.mailbox.as_mut().unwrap();
    in_storage.frozen = Some(held);
    in_storage.oldest_millis = 2_900;
    in_storage.queued = vec![("CommitBlock".into(), 1), ("GetHead".into(), 6)];
    let storage_vitals = storage.vitals.as_mut().unwrap();
    storage_vitals.health = "frozen".into();
    storage_vitals.health_reason = "by ada@tower (pid 7)".into();

    let mut engine = instance("engine", 102, mailbox(1, 9, 4_711));
    let in_engine = engine.mailbox.as_mut().unwrap();
    (in_engine.in_flight, in_engine.in_flight_from) = ("ExecuteBlock".into(), "chain".into());
    in_engine.busy_millis = 2_500;
    in_engine.waiting_on = "storage.GetHead".into();
    in_engine.waits = vec![
        Wait { role: "storage".into(), name: "GetHead".into(), age_millis: 2_480, holds_mailbox: true },
        Wait { role: "chain".into(), name: "GetChainHead".into(), age_millis: 120, holds_mailbox: false },
    ];

    let mut chain = instance("chain", 103, mailbox(0, 12, 90_210));
    chain.how = How::PostMortem { reason: "signal 9; backing-off".into() };
    chain.kept =
        Some(Kept { owner: "local".into(), state: "backing-off".into(), restarts: 2, last_exit: "signal 9".into(), pid: 0 });

    let mut network = instance("network", 104, mailbox(0, 3, 55));
    network.how = How::Timeout { age_millis: Some(1_500) };

    let governance = Instance {
        instance: "governance-1".into(),
        role: "governance".into(),
        how: How::Alive,
        incarnation: String::new(),
        vitals: None,
        mailbox: None,
        kept: Some(Kept { pid: 110, owner: "local".into(), state: "running".into(), ..Kept::default() }),
    };
    Facts { unix_millis: NOW, instances: vec![storage, engine, chain, network, governance] }
}

fn mailbox(depth: u64, high_water: u64, handled: u64) -> Mailbox {
    Mailbox { depth, high_water, handled, capacity: 1_000, p50_micros: 180, p99_micros: 12_300, ..Mailbox::default() }
}

fn instance(name: &str, pid: u32, mailbox: Mailbox) -> Instance {
    let vitals = Vitals {
        pid,
        host: "tower".into(),
        health: "ready".into(),
        version: "0.1.0".into(),
        started_unix_millis: NOW - 3_600_000,
        resident_bytes: 24 * 1024 * 1024,
        cpu_millis: 1_234,
        status: vec![("height".into(), "17".into()), ("note".into(), "all is well".into())],
        links: vec![("supervisor".into(), "00000000000000aa".into(), "unix".into())],
        ..Vitals::default()
    };
    Instance {
        instance: name.into(),
        role: name.into(),
        how: How::Alive,
        incarnation: format!("{pid:016x}"),
        vitals: Some(vitals),
        mailbox: Some(mailbox),
        kept: Some(Kept { pid, owner: "local".into(), state: "running".into(), restarts: 0, last_exit: String::new() }),
    }
}
