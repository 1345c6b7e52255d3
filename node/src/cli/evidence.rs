//! `alys evidence`.

use std::time::{Duration, UNIX_EPOCH};

use alys_chain::core::consensus::{Evidence, evidence};
use alys_blocks::ChainDomain;
use alys_proto::storage::{self, GetDocuments};
use alys_proto::{Message as _, chain};
use clap::Args;
use serde_json::{Value, json};

use super::args::Place;
use super::status::join;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};

/// `alys evidence`.
#[derive(Clone, Debug, Args)]
pub struct EvidenceArgs {
    /// Form of the output; json has the signed bytes, for the other operators
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

pub(super) async fn run(place: &Place, args: &EvidenceArgs) -> Outcome {
    let domain = place.load_live()?.spec()?.domain();
    let storage = join(place).await?.remote::<storage::Inbox>();
    let question = GetDocuments { owner: "chain".into(), prefix: evidence::PREFIX.into() };
    let kept = storage.ask(question).await.map_err(|refused| Failure::temporary(format!("storage: {refused}")))?;
    let mut found: Vec<chain::Evidence> =
        kept.documents.iter().filter_map(|document| chain::Evidence::decode(document.value.as_slice()).ok()).collect();
    found.sort_by_key(|evidence| evidence.height);
    if args.output == Output::Json {
        return table::json(&found.iter().map(|evidence| shown(&domain, evidence)).collect::<Vec<_>>());
    }
    print(&text(&domain, &found));
    Ok(())
}

fn text(domain: &ChainDomain, found: &[chain::Evidence]) -> String {
    if found.is_empty() {
        return "no validator has been seen to sign two things in one place\n".into();
    }
    let rows: Vec<Vec<String>> = found.iter().map(|evidence| row(domain, evidence)).collect();
    table::table(&["height", "round", "kind", "validator", "one block", "other block", "found", "signatures"], &rows)
}

fn row(domain: &ChainDomain, evidence: &chain::Evidence) -> Vec<String> {
    vec![
        evidence.height.to_string(),
        evidence.round.to_string(),
        evidence.kind.clone(),
        hex::encode(&evidence.validator),
        block(&evidence.first_block),
        block(&evidence.second_block),
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(evidence.found_unix_millis)).to_string(),
        if holds(domain, evidence) { "hold".into() } else { "DO NOT HOLD".into() },
    ]
}

/// Enough of it to tell two apart.
fn block(hash: &[u8]) -> String {
    if hash.iter().all(|byte| *byte == 0) { "nil".into() } else { hex::encode(hash.iter().take(6).copied().collect::<Vec<_>>()) }
}

/// Checked anew: what stands on a disk proves nothing by itself.
fn holds(domain: &ChainDomain, evidence: &chain::Evidence) -> bool {
    Evidence::from_record(evidence).is_ok_and(|evidence| evidence.is_proof(domain))
}

fn shown(domain: &ChainDomain, evidence: &chain::Evidence) -> Value {
    json!({
        "validator": hex::encode(&evidence.validator), "height": evidence.height, "round": evidence.round,
        "kind": evidence.kind, "found_unix_millis": evidence.found_unix_millis, "holds": holds(domain, evidence),
        "first_block": hex::encode(&evidence.first_block), "first": hex::encode(&evidence.first),
        "second_block": hex::encode(&evidence.second_block), "second": hex::encode(&evidence.second),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_shown_and_checked_anew() {
        let domain = ChainDomain::new(Default::default());
        assert!(text(&domain, &[]).contains("no validator"));
        let forged = chain::Evidence {
            validator: vec![0xab; 32],
            height: 7,
            kind: "prevote".into(),
            first_block: vec![0; 32],
            second_block: vec![0xcd; 32],
            found_unix_millis: 1_700_000_000_000,
            ..chain::Evidence::default()
        };
        let expected = format!(
            "\
HEIGHT  ROUND  KIND     {:<64}  ONE BLOCK  OTHER BLOCK   FOUND                 SIGNATURES
7       0      prevote  {}  nil        cdcdcdcdcdcd  2023-11-14T22:13:20Z  DO NOT HOLD
",
            "VALIDATOR",
            "ab".repeat(32)
        );
        assert_eq!(text(&domain, &[forged.clone()]), expected);
        assert_eq!(shown(&domain, &forged)["holds"], false);
    }
}
