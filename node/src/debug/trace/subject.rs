//! What a trace is asked for: a transaction, a burn, a block height or a trace id. Pure.
//!
//! | written | means |
//! |---|---|
//! | 64 hexadecimal digits, `:N` behind them | output N of a Bitcoin transaction: a deposit |
//! | 64 hexadecimal digits | a Bitcoin transaction (a deposit or a payout), or one of the sidechain that burns |
//! | `17/0` | the burn with log index 0 in block 17 |
//! | `17` | block 17 |
//! | 32 hexadecimal digits | a trace id as logs and collectors show it |

use alys_cluster::telemetry::trace_id_of;
use alys_proto::Cause;
use alys_proto::bridge::{PegInState, PegOutState, Pegs};

/// Outputs that are tried when nobody knows which one pays the federation.
const OUTPUTS_TRIED: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// As people write it: reversed bytes of the id.
    Transaction([u8; 32]),
    Deposit([u8; 32], u32),
    Burn(u64, u32),
    Block(u64),
    TraceId(String),
}

/// One thing to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    /// `peg-in`, `peg-out`; empty when only the trace id is known.
    pub(super) kind: &'static str,
    pub(super) trace_id: String,
    /// As bridge sees it.
    pub(super) state: String,
    pub(super) reason: String,
}

impl Subject {
    /// Reads what a person wrote.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("0x").unwrap_or(text);
        let (id, output) = match bare.split_once(':') {
            Some((id, output)) => (id, Some(output)),
            None => (bare, None),
        };
        if id.len() == 64
            && let Ok(bytes) = hex::decode(id)
            && let Ok(bytes) = <[u8; 32]>::try_from(bytes)
        {
            return match output.map(str::parse) {
                None => Ok(Self::Transaction(bytes)),
                Some(Ok(output)) => Ok(Self::Deposit(bytes, output)),
                Some(Err(_)) => Err(format!("`{text}`: behind the colon is the number of an output")),
            };
        }
        if let Some((height, index)) = bare.split_once('/')
            && let (Ok(height), Ok(index)) = (height.parse(), index.parse())
        {
            return Ok(Self::Burn(height, index));
        }
        if bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::TraceId(bare.to_lowercase()));
        }
        bare.parse()
            .map(Self::Block)
            .map_err(|_| format!("`{text}` is no transaction id, txid:output, burn as height/index, block height or trace id"))
    }

    /// What to follow for it. `burnt_by`: burns that the logs know of a sidechain transaction.
    pub(super) fn targets(&self, pegs: &Pegs, burnt_by: impl Fn(&str) -> Vec<(u64, u32)>) -> Vec<Target> {
        match self {
            Self::Block(_) => Vec::new(),
            Self::TraceId(trace_id) => {
                let known = all(pegs).into_iter().find(|target| target.trace_id == *trace_id);
                vec![known.unwrap_or_else(|| target(format!("trace {trace_id}"), "", trace_id.clone()))]
            }
            Self::Deposit(id, output) => vec![deposit(pegs, id, *output)],
            Self::Burn(height, index) => vec![burn(pegs, *height, *index)],
            Self::Transaction(id) => {
                let internal = reversed(id);
                let outputs = pegs.peg_ins.iter().filter_map(|peg| peg.outpoint.as_ref().filter(|at| at.txid == internal));
                let mut found: Vec<Target> = outputs.map(|outpoint| deposit(pegs, id, outpoint.vout)).collect();
                let paid = pegs.peg_outs.iter().filter(|peg| peg.payout_txid == internal).filter_map(|peg| peg.burn.as_ref());
                found.extend(paid.map(|id| burn(pegs, id.height, id.log_index)));
                found.extend(burnt_by(&hex::encode(id)).into_iter().map(|(height, index)| burn(pegs, height, index)));
                if found.is_empty() {
                    // Nobody lists it any more, or yet; a log may still know it.
                    found.extend((0..OUTPUTS_TRIED).map(|output| deposit(pegs, id, output)));
                }
                found
            }
        }
    }
}

fn target(name: String, kind: &'static str, trace_id: String) -> Target {
    Target { name, kind, trace_id, state: String::new(), reason: String::new() }
}

fn deposit(pegs: &Pegs, id: &[u8; 32], output: u32) -> Target {
    let internal = reversed(id);
    let cause = Cause::deposit(&internal, output);
    let name = format!("deposit {}:{output}", hex::encode(id));
    let is_it = |peg: &&PegInState| peg.outpoint.as_ref().is_some_and(|at| at.txid == internal && at.vout == output);
    let mut found = target(name, cause.kind(), trace_id_of(&cause));
    if let Some(peg) = pegs.peg_ins.iter().find(is_it) {
        (found.state, found.reason) = (peg.state.clone(), peg.reason.clone());
    }
    found
}

fn burn(pegs: &Pegs, height: u64, index: u32) -> Target {
    let cause = Cause::burn(height, index);
    let is_it = |peg: &&PegOutState| peg.burn.as_ref().is_some_and(|id| id.height == height && id.log_index == index);
    let mut found = target(format!("burn {height}/{index}"), cause.kind(), trace_id_of(&cause));
    if let Some(peg) = pegs.peg_outs.iter().find(is_it) {
        (found.state, found.reason) = (peg.state.clone(), peg.reason.clone());
    }
    found
}

fn all(pegs: &Pegs) -> Vec<Target> {
    let ins = pegs.peg_ins.iter().filter_map(|peg| peg.outpoint.as_ref());
    let outs = pegs.peg_outs.iter().filter_map(|peg| peg.burn.as_ref());
    let ids = ins.filter_map(|at| Some((<[u8; 32]>::try_from(at.txid.as_slice()).ok()?, at.vout)));
    ids.map(|(id, output)| deposit(pegs, &reversed_array(id), output))
        .chain(outs.map(|id| burn(pegs, id.height, id.log_index)))
        .collect()
}

fn reversed(id: &[u8; 32]) -> Vec<u8> {
    id.iter().rev().copied().collect()
}

fn reversed_array(mut id: [u8; 32]) -> [u8; 32] {
    id.reverse();
    id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::{common, storage};

    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        let id = "1f".repeat(31) + "00";
        let bytes: [u8; 32] = hex::decode(&id).unwrap().try_into().unwrap();
        let table = [
            (id.clone(), Subject::Transaction(bytes)),
            (format!("0x{id}"), Subject::Transaction(bytes)),
            (format!("{id}:3"), Subject::Deposit(bytes, 3)),
            ("17/0".to_owned(), Subject::Burn(17, 0)),
            ("17".to_owned(), Subject::Block(17)),
            ("AB".repeat(16), Subject::TraceId("ab".repeat(16))),
        ];
        for (text, expected) in table {
            assert_eq!(Subject::parse(&text).unwrap(), expected, "{text}");
        }
        for bad in ["", "x", "1f", "17/x", "-1", &format!("{id}:x")] {
            assert!(Subject::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_transaction_leads_to_its_deposits_payouts_and_burns() {
        let mut id = [7; 32];
        id[0] = 1;
        let internal = reversed(&id);
        let outpoint = common::OutPoint { txid: internal.clone(), vout: 2 };
        let peg_in = PegInState { outpoint: Some(outpoint), state: "minted".into(), ..PegInState::default() };
        let burn_id = storage::BurnId { height: 9, log_index: 1 };
        let peg_out = PegOutState { burn: Some(burn_id), payout_txid: internal.clone(), ..PegOutState::default() };
        let pegs = Pegs { peg_ins: vec![peg_in], peg_outs: vec![peg_out] };
        let names = |subject: Subject, burnt: Vec<(u64, u32)>| -> Vec<String> {
            subject.targets(&pegs, |_| burnt.clone()).into_iter().map(|target| target.name).collect()
        };
        let shown = hex::encode(id);
        assert_eq!(names(Subject::Transaction(id), vec![]), [format!("deposit {shown}:2"), "burn 9/1".into()]);
        let unknown = names(Subject::Transaction([9; 32]), vec![(4, 0)]);
        assert_eq!(unknown, ["burn 4/0"]);
        assert_eq!(names(Subject::Transaction([9; 32]), vec![]).len(), 8, "a log may know one of its outputs");
        let trace_id = trace_id_of(&Cause::deposit(&internal, 2));
        assert_eq!(names(Subject::TraceId(trace_id), vec![]), [format!("deposit {shown}:2")]);
        assert_eq!(Subject::Deposit(id, 2).targets(&pegs, |_| vec![])[0].state, "minted");
    }
}
