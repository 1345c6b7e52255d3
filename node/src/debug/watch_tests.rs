#![allow(clippy::unwrap_used)]

use alys_cluster::Identity;
use alys_proto::Refused;
use alys_proto::cluster::{self, Health, Observation};

use super::*;

fn alive(identity: &Identity) -> Observed {
    let mailbox = cluster::Mailbox { depth: 3, ..cluster::Mailbox::default() };
    let observation = Observation { health: Health::Ready.into(), pid: 42, mailbox: Some(mailbox), ..Observation::default() };
    Observed { identity: identity.clone(), observation: Ok(observation) }
}

fn silent(identity: &Identity) -> Observed {
    Observed { identity: identity.clone(), observation: Err(Refused::TooLate("no answer".into())) }
}

fn kept(name: &str, role: Role, state: &str, last_exit: &str) -> supervisor::Instance {
    supervisor::Instance {
        name: name.into(),
        role: role.into(),
        state: state.into(),
        last_exit: last_exit.into(),
        ..supervisor::Instance::default()
    }
}

fn how(facts: &Facts, name: &str) -> How {
    facts.find(name).unwrap().how.clone()
}

#[test]
fn each_fact_says_how_it_was_got() {
    let (mut watch, chain) = (Watch::default(), Identity::new(Role::Chain, "chain"));
    assert_eq!(how(&watch.update(1_000, &[silent(&chain)], &[]), "chain"), How::Timeout { age_millis: None });
    assert_eq!(how(&watch.update(2_000, &[alive(&chain)], &[]), "chain"), How::Alive);
    let late = watch.update(5_000, &[silent(&chain)], &[]);
    assert_eq!(how(&late, "chain"), How::Timeout { age_millis: Some(3_000) });
    assert_eq!(late.find("chain").unwrap().mailbox.as_ref().unwrap().depth, 3, "the last it said");
    let killed = [kept("chain", Role::Chain, "backing-off", "signal 9")];
    let gone = watch.update(6_000, &[], &killed);
    assert_eq!(how(&gone, "chain"), How::PostMortem { reason: "signal 9; backing-off".into() });
    assert_eq!(gone.find("chain").unwrap().vitals.as_ref().unwrap().pid, 42, "the last it said");
    assert_eq!(how(&watch.update(7_000, &[], &[]), "chain"), How::PostMortem { reason: "it left the mesh".into() });
}

#[test]
fn a_new_incarnation_does_not_inherit_what_the_old_one_said() {
    let (mut watch, first, second) = (Watch::default(), Identity::new(Role::Chain, "chain"), Identity::new(Role::Chain, "chain"));
    watch.update(1_000, &[alive(&first)], &[]);
    let facts = watch.update(2_000, &[silent(&second)], &[]);
    assert_eq!(how(&facts, "chain"), How::Timeout { age_millis: None });
    assert!(facts.find("chain").unwrap().mailbox.is_none());
}

#[test]
fn what_only_the_supervisor_knows_is_shown_too() {
    let listed = [
        kept("governance-1", Role::Unspecified, "running", ""),
        kept("engine", Role::Engine, "quarantined", "exit 78 (configuration)"),
        kept("governance-2", Role::Unspecified, "backing-off", "exit 75"),
    ];
    let facts = Watch::default().update(1, &[alive(&Identity::new(Role::Sync, "sync"))], &listed);
    let shown: Vec<_> = facts.instances.iter().map(|one| (one.instance.as_str(), one.health())).collect();
    assert_eq!(shown, [("engine", "gone"), ("sync", "ready"), ("governance-1", "running"), ("governance-2", "gone")]);
    assert_eq!(how(&facts, "engine"), How::PostMortem { reason: "exit 78 (configuration); quarantined".into() });
}

#[test]
fn memory_is_bounded() {
    let mut watch = Watch::default();
    for number in 0..u64::try_from(MOST_REMEMBERED).unwrap() + 20 {
        let worker = Identity::new(Role::Sync, &format!("sync-{number}"));
        watch.update(number, &[alive(&worker)], &[]);
    }
    assert_eq!(watch.seen.len(), MOST_REMEMBERED);
    assert!(!watch.seen.contains_key("sync-0") && watch.seen.contains_key("sync-119"));
}
