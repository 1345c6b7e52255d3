#![allow(clippy::unwrap_used)]

use alys_storage::{Part, Report};

use super::*;

#[test]
fn people_and_programs_read_what_is_damaged_and_what_to_do() {
    let mut report = Report { schema: 2, blocks: 7, facts: 3, head_height: 7, head_hash: "ab".into(), ..Report::default() };
    let path = Path::new("alys.redb");
    assert_eq!(text(path, &report), "alys.redb: schema 2, 7 blocks, 3 ledger facts, head 7 ab\nwhole\n");
    assert_eq!(shown(path, &report)["whole"], true);
    report.add(Part::Certificates, 5, "it has no certificate");
    report.add(Part::Index, 0, "9 hashes");
    let expected = format!(
        "alys.redb: schema 2, 7 blocks, 3 ledger facts, head 7 ab\n\n\
         DAMAGED       BLOCK  WHAT\ncertificates  5      it has no certificate\nindex         -      9 hashes\n\n{ADVICE}\n"
    );
    assert_eq!(text(path, &report), expected);
    let json = shown(path, &report);
    assert_eq!((&json["whole"], &json["report"]["damages"][0]["part"]), (&json!(false), &json!("certificates")));
    assert_eq!(json["report"]["damages"][0]["height"], 5);
}

#[test]
fn a_database_in_use_is_a_passing_thing_and_a_damaged_one_is_not() {
    let code = |fault: &Fault| failure(fault, Path::new("x")).code;
    assert_eq!(code(&Fault::Locked), exit::TEMPORARY);
    assert_eq!(code(&Fault::Damaged(String::new())), exit::CONFIGURATION);
    assert_eq!(code(&Fault::NewerSchema { found: 3, known: 2 }), exit::CONFIGURATION);
}

#[test]
fn a_backup_that_is_not_ours_is_not_taken_for_it() {
    let done = |folder: &str| Backup { state: State::Done.into(), folder: folder.into(), ..Backup::default() };
    assert_eq!(finished(&done("/b/other"), Path::new("/b/ours")).unwrap_err().code, exit::TEMPORARY);
    let failed = Backup { state: State::Failed.into(), folder: "/b".into(), failure: "no space".into(), ..Backup::default() };
    assert!(finished(&failed, Path::new("/b")).unwrap_err().to_string().contains("no space"));
}
