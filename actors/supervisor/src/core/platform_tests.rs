#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use super::*;

const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);

fn ward() -> Ward {
    let mut ward = Ward::new("bridge", Role::Bridge, Owner::Systemd, Policy::default());
    look(&mut ward, 0, Some((FIRST, Some(View::Working))));
    ward
}

fn look(ward: &mut Ward, seconds: u64, sight: Option<WardSight>) -> Vec<WardEffect> {
    ward.looked(Duration::from_secs(seconds), sight.as_ref(), Jitter::default())
}

fn wedged() -> Option<WardSight> {
    Some((FIRST, Some(View::Wedged("GetHead".into()))))
}

#[test]
fn what_ends_by_itself_is_the_platforms_to_start() {
    let mut ward = ward();
    assert!(look(&mut ward, 1, None).is_empty());
    assert_eq!(ward.phase, WardPhase::Missing);
    assert_eq!(look(&mut ward, 2, Some((SECOND, Some(View::Starting)))), [WardEffect::Report(Report::Ready("bridge".into()))]);
    assert_eq!((ward.phase, ward.restarts), (WardPhase::Running, 1));
}

#[test]
fn one_that_stays_away_is_told_once() {
    let mut ward = ward();
    look(&mut ward, 1, None);
    assert!(look(&mut ward, 30, None).is_empty());
    let told = look(&mut ward, 31, None);
    assert!(matches!(&told[..], [WardEffect::Report(Report::Missing { owner: Owner::Systemd, .. })]), "{told:?}");
    assert!(look(&mut ward, 32, None).is_empty());
}

#[test]
fn a_wedged_one_is_asked_to_go_and_then_its_platform_is() {
    let mut ward = ward();
    let effects = look(&mut ward, 1, wedged());
    assert!(matches!(&effects[..], [WardEffect::Report(_), WardEffect::AskToGo { restart: true, .. }]), "{effects:?}");
    assert!(look(&mut ward, 6, wedged()).is_empty(), "it has its grace");
    let forced = WardEffect::Platform { name: "bridge".into(), action: Action::Restart };
    assert_eq!(look(&mut ward, 7, wedged()), [forced]);
    assert!(look(&mut ward, 8, wedged()).is_empty(), "once");
    look(&mut ward, 9, None);
    look(&mut ward, 10, Some((SECOND, Some(View::Working))));
    assert_eq!(ward.phase, WardPhase::Running);
}

#[test]
fn a_silent_one_is_left_to_its_platform() {
    let mut ward = ward();
    for second in 1..120 {
        assert!(look(&mut ward, second, Some((FIRST, None))).is_empty(), "cut off or frozen: from here nobody can tell");
    }
}

#[test]
fn wedged_too_often_is_left_alone_and_shown() {
    let mut ward = ward();
    for round in 0..5u64 {
        let now = Incarnation(round + 10);
        look(&mut ward, round, Some((now, Some(View::Working))));
        look(&mut ward, round, Some((now, Some(View::Wedged("x".into())))));
    }
    look(&mut ward, 6, Some((SECOND, Some(View::Working))));
    let effects = look(&mut ward, 6, Some((SECOND, Some(View::Wedged("x".into())))));
    assert!(matches!(&effects[..], [WardEffect::Report(Report::Quarantined { .. })]), "{effects:?}");
    assert!(matches!(&ward.resume(Duration::from_secs(7))[..], [WardEffect::AskToGo { restart: true, .. }]));
}

#[test]
fn a_drain_ends_when_it_is_gone_and_resume_starts_it() {
    let mut ward = ward();
    let effects = ward.go(Duration::from_secs(1), false, "test".into());
    assert!(matches!(&effects[..], [WardEffect::AskToGo { restart: false, .. }]), "{effects:?}");
    assert_eq!(look(&mut ward, 2, None), [WardEffect::Report(Report::Drained("bridge".into()))]);
    assert!(look(&mut ward, 300, None).is_empty(), "nobody misses it");
    let start = WardEffect::Platform { name: "bridge".into(), action: Action::Start };
    assert_eq!(ward.resume(Duration::from_secs(301)), [start]);
}

#[test]
fn kubernetes_is_told_before_one_drains_for_it_starts_what_ends() {
    let mut ward = Ward::new("bridge", Role::Bridge, Owner::Kubernetes, Policy::default());
    look(&mut ward, 0, Some((FIRST, Some(View::Working))));
    let stop = WardEffect::Platform { name: "bridge".into(), action: Action::Stop };
    assert_eq!(ward.go(Duration::from_secs(1), false, "test".into()), [stop]);
    assert!(look(&mut ward, 60, Some((FIRST, Some(View::Starting)))).is_empty(), "once");
    assert_eq!(look(&mut ward, 61, None), [WardEffect::Report(Report::Drained("bridge".into()))]);
    let effects = ward.resume(Duration::from_secs(62));
    assert_eq!(effects, [WardEffect::Platform { name: "bridge".into(), action: Action::Start }]);
    look(&mut ward, 63, Some((SECOND, Some(View::Working))));
    let effects = ward.go(Duration::from_secs(64), true, "test".into());
    assert!(matches!(&effects[..], [WardEffect::AskToGo { restart: true, .. }]), "its container is started again: {effects:?}");
}
