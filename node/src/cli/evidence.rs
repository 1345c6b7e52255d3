//! `alys evidence`.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use alloy_primitives::Bytes;
use alys_blocks::ChainSpec;
use alys_chain::core::consensus::{Evidence, evidence};
use alys_proto::storage::{self, GetDocuments};
use alys_proto::{Message as _, chain};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::args::Place;
use super::status::join;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{self, Output, print};

/// The year 9999, the last that has a form.
const LAST_MILLIS: u64 = 253_402_300_799_000;

/// `alys evidence`.
#[derive(Clone, Debug, Args)]
pub struct EvidenceArgs {
    /// Form of the output; json has the signed bytes, for the other operators
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Check what another operator's `alys evidence -o json` has printed, against the chain specification of this folder. No
    /// node has to run. Exit 78: a proof does not hold
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// One proof as JSON. What is not in the signed bytes is there for people and compared with them.
#[derive(Debug, Deserialize, Serialize)]
struct Shown {
    height: u64,
    round: u32,
    kind: String,
    validator: Bytes,
    found_unix_millis: u64,
    first_block: Bytes,
    first: Bytes,
    second_block: Bytes,
    second: Bytes,
    /// Said by whoever printed it; never believed.
    #[serde(default)]
    flaw: Option<String>,
}

pub(super) async fn run(place: &Place, args: &EvidenceArgs) -> Outcome {
    let spec = place.load_live()?.spec()?;
    let found = match &args.file {
        Some(file) => read(&std::fs::read(file).or_configuration(format!("cannot read {}", file.display()))?)?,
        None => kept(place).await?,
    };
    match args.output {
        Output::Json => table::json(&found.iter().map(|record| shown(&spec, record)).collect::<Vec<_>>())?,
        Output::Table => print(&text(&spec, &found)),
    }
    let flawed = found.iter().filter(|record| Evidence::check(record, &spec).is_err()).count();
    if flawed > 0 {
        return Err(Failure::configuration(format!("{flawed} of {} proofs do not hold", found.len()))
            .help("they accuse nobody; whoever made them has altered them, or they are of another chain"));
    }
    Ok(())
}

async fn kept(place: &Place) -> Outcome<Vec<chain::Evidence>> {
    let storage = join(place).await?.remote::<storage::Inbox>();
    let question = GetDocuments { owner: "chain".into(), prefix: evidence::PREFIX.into() };
    let kept = storage.ask(question).await.map_err(|refused| Failure::temporary(format!("storage: {refused}")))?;
    let decoded = kept.documents.iter().map(|document| chain::Evidence::decode(document.value.as_slice()));
    let mut found: Vec<chain::Evidence> = decoded.collect::<Result<_, _>>().or_bug("what chain has kept is no evidence")?;
    found.sort_by_key(|record| record.height);
    Ok(found)
}

fn read(json: &[u8]) -> Outcome<Vec<chain::Evidence>> {
    let shown: Vec<Shown> = serde_json::from_slice(json).or_configuration("not what `alys evidence -o json` prints")?;
    Ok(shown.into_iter().map(record).collect())
}

fn text(spec: &ChainSpec, found: &[chain::Evidence]) -> String {
    if found.is_empty() {
        return "no validator has been seen to sign two things in one place\n".into();
    }
    let rows: Vec<Vec<String>> = found.iter().map(|record| row(spec, record)).collect();
    table::table(&["height", "round", "kind", "validator", "one block", "other block", "found", "proof"], &rows)
}

fn row(spec: &ChainSpec, record: &chain::Evidence) -> Vec<String> {
    // Another operator's file may name a year that has no form.
    let found = UNIX_EPOCH + Duration::from_millis(record.found_unix_millis.min(LAST_MILLIS));
    vec![
        record.height.to_string(),
        record.round.to_string(),
        record.kind.clone(),
        hex::encode(&record.validator),
        block(&record.first_block),
        block(&record.second_block),
        humantime::format_rfc3339_seconds(found).to_string(),
        flaw(spec, record).map_or_else(|| "holds".to_owned(), |flaw| format!("DOES NOT HOLD: {flaw}")),
    ]
}

/// Enough of it to tell two apart.
fn block(hash: &[u8]) -> String {
    if hash.iter().all(|byte| *byte == 0) {
        "nil".into()
    } else {
        hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Checked anew: what stands on a disk proves nothing by itself.
fn flaw(spec: &ChainSpec, record: &chain::Evidence) -> Option<String> {
    Evidence::check(record, spec).err().map(|flaw| flaw.to_string())
}

fn shown(spec: &ChainSpec, record: &chain::Evidence) -> Shown {
    Shown {
        height: record.height,
        round: record.round,
        kind: record.kind.clone(),
        validator: record.validator.clone().into(),
        found_unix_millis: record.found_unix_millis,
        first_block: record.first_block.clone().into(),
        first: record.first.clone().into(),
        second_block: record.second_block.clone().into(),
        second: record.second.clone().into(),
        flaw: flaw(spec, record),
    }
}

fn record(shown: Shown) -> chain::Evidence {
    chain::Evidence {
        height: shown.height,
        round: shown.round,
        kind: shown.kind,
        validator: shown.validator.into(),
        found_unix_millis: shown.found_unix_millis,
        first_block: shown.first_block.into(),
        first: shown.first.into(),
        second_block: shown.second_block.into(),
        second: shown.second.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_blocks::testing::spec;
    use alys_cluster::exit;

    use super::*;

    fn forged() -> chain::Evidence {
        chain::Evidence {
            validator: vec![0xab; 32],
            height: 7,
            kind: "prevote".into(),
            first_block: vec![0; 32],
            second_block: vec![0xcd; 32],
            found_unix_millis: 1_700_000_000_000,
            ..chain::Evidence::default()
        }
    }

    #[test]
    fn what_is_found_is_shown_and_checked_anew() {
        assert!(text(&spec(), &[]).contains("no validator"));
        let shown = text(&spec(), &[forged()]);
        let row = shown.lines().nth(1).unwrap();
        let expected = format!(
            "7       0      prevote  {}  nil        cdcdcdcdcdcd  2023-11-14T22:13:20Z  DOES NOT HOLD: ",
            "ab".repeat(32)
        );
        assert!(row.starts_with(&expected), "{row}");
    }

    #[test]
    fn what_is_printed_is_read_back_and_its_own_verdict_is_not_believed() {
        let mut printed = serde_json::to_value([shown(&spec(), &forged())]).unwrap();
        assert!(printed[0]["flaw"].is_string());
        printed[0]["flaw"] = serde_json::Value::Null;
        let read = read(printed.to_string().as_bytes()).unwrap();
        assert_eq!(read, [forged()]);
        assert!(text(&spec(), &read).contains("DOES NOT HOLD"));
    }

    #[test]
    fn a_file_of_anything_else_is_refused_and_a_far_year_shown() {
        for bytes in [&b"{}"[..], b"[{}]", b"", b"[{\"height\": -1}]"] {
            assert_eq!(read(bytes).unwrap_err().code, exit::CONFIGURATION);
        }
        assert!(text(&spec(), &[chain::Evidence { found_unix_millis: u64::MAX, ..forged() }]).contains("9999-12-31T23:59:59Z"));
    }
}
