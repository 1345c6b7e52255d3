//! `alys debug mailbox tap`: messages as they pass. Reading renews the tap; it goes with this process.

use std::time::Duration;

use alys_proto::Role;
use alys_proto::cluster::{Passage, Passed, TapBatch, TapClose, TapFilter, TapOpen, TapRead};
use serde_json::json;
use tokio::time::Instant;

use super::args::Tap;
use super::facts::lane_name;
use super::source::{DEADLINE, Live, failed};
use super::units;
use crate::failure::Outcome;
use crate::io::table::{Output, print};

/// How often it is read.
pub(super) const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(live: &Live, args: &Tap) -> Outcome {
    let filter = TapFilter {
        name: args.name.clone().unwrap_or_default(),
        sender: args.sender.map_or(0, Into::into),
        text: args.text.clone().unwrap_or_default(),
        local: args.local,
    };
    let asked = TapOpen { filter: Some(filter), rate: args.rate, ..TapOpen::default() };
    let mut shown = 0usize;
    let ended = follow(live, &args.instance, &asked, args.lasting, |batch| {
        for passed in &batch.passed {
            if args.count.is_some_and(|count| shown >= count) {
                return false;
            }
            shown = shown.saturating_add(1);
            show(passed, args.output);
        }
        args.count.is_none_or(|count| shown < count)
    })
    .await?;
    if ended > 0 {
        eprintln!("{ended} more passed but are not shown: over --rate, or faster than this terminal");
    }
    Ok(())
}

/// Opens a tap and hands on what it brings until `more` says no, the time is over, or Ctrl-C. A restart of the role is
/// followed. Returns how many messages were missed.
pub(super) async fn follow(
    live: &Live,
    instance: &str,
    asked: &TapOpen,
    lasting: Option<Duration>,
    mut more: impl FnMut(&TapBatch) -> bool,
) -> Outcome<u64> {
    let until = lasting.map(|lasting| Instant::now() + lasting);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let open = async || live.inspector(instance)?.ask_within(DEADLINE, asked.clone()).await.map_err(|why| failed(instance, why));
    let mut tap = open().await?.tap;
    let (mut missed_before, mut missed) = (0u64, 0u64);
    loop {
        let wait = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
        let over = tokio::select! {
            () = tokio::time::sleep(wait) => until.is_some_and(|until| Instant::now() >= until),
            _ = &mut interrupted => true,
        };
        let batch = match live.inspector(instance) {
            Ok(inspector) if over => inspector.ask_within(DEADLINE, TapClose { tap }).await.ok(),
            Ok(inspector) => inspector.ask_within(DEADLINE, TapRead { tap, limit: 0 }).await.ok(),
            Err(_gone) => None,
        };
        if let Some(batch) = batch {
            missed = batch.missed;
            if !more(&batch) && !over {
                let inspector = live.inspector(instance)?;
                let _already_gone = inspector.ask_within(DEADLINE, TapClose { tap }).await;
                return Ok(missed_before.saturating_add(missed));
            }
        } else if !over && let Ok(opened) = open().await {
            // The role was restarted, or this process stood still for longer than the tap lives.
            eprintln!("{instance}: the tap was gone and is open again");
            (missed_before, missed, tap) = (missed_before.saturating_add(missed), 0, opened.tap);
        }
        if over {
            return Ok(missed_before.saturating_add(missed));
        }
    }
}

fn show(passed: &Passed, output: Output) {
    match output {
        Output::Json => print(&format!("{}\n", json_of(passed))),
        Output::Table => print(&format!("{}\n", line(passed))),
    }
}

fn passage(passed: &Passed) -> &'static str {
    match passed.passage() {
        Passage::Unspecified => "?",
        Passage::Arrived => "arrived",
        Passage::Refused => "refused",
        Passage::Handled => "handled",
        Passage::Failed => "failed",
    }
}

fn sender(passed: &Passed) -> &'static str {
    match Role::try_from(passed.sender) {
        Ok(Role::Unspecified) | Err(_) => "itself",
        Ok(role) => role.name(),
    }
}

fn json_of(passed: &Passed) -> serde_json::Value {
    json!({
        "unix_millis": passed.unix_millis,
        "passage": passage(passed),
        "name": passed.name,
        "lane": lane_name(passed.lane()),
        "sender": sender(passed),
        "message_id": hex::encode(&passed.message_id),
        "bytes": passed.bytes,
        "waited_micros": passed.waited_micros,
        "took_micros": passed.took_micros,
        "reason": passed.reason,
        "body": passed.body,
    })
}

/// One line: when, what became of it, from whom, what. What arrives shows its body, what was handled its times.
fn line(passed: &Passed) -> String {
    let behind = match passed.passage() {
        Passage::Handled | Passage::Failed => {
            format!("waited {} took {}", units::micros(passed.waited_micros), units::micros(passed.took_micros))
        }
        Passage::Refused => passed.reason.clone(),
        Passage::Arrived | Passage::Unspecified => passed.body.clone(),
    };
    let id = hex::encode(passed.message_id.get(12..).unwrap_or_default());
    let (time, what) = (units::clock(passed.unix_millis), passage(passed));
    format!("{time} {what:<7} {:<10} {:<28} {id:<8} {behind}", sender(passed), passed.name).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn passages_for_people() {
        let passed = Passed {
            name: "CommitBlock".into(),
            sender: Role::Chain.into(),
            message_id: (0..16).collect(),
            unix_millis: sample::NOW,
            bytes: 12,
            body: "block{height=7}".into(),
            ..Passed::default()
        };
        let mut lines = Vec::new();
        for (passage, reason) in [(Passage::Arrived, ""), (Passage::Handled, ""), (Passage::Refused, "the mailbox is full")] {
            let mut one = Passed { waited_micros: 120, took_micros: 5_400, reason: reason.into(), ..passed.clone() };
            one.set_passage(passage);
            lines.push(line(&one));
        }
        lines.push(line(&Passed { name: "local".into(), unix_millis: sample::NOW, ..Passed::default() }));
        sample::golden("mailbox-tap", &(lines.join("\n") + "\n"));
        assert_eq!(json_of(&passed)["message_id"], "000102030405060708090a0b0c0d0e0f");
    }
}
