//! The methods. Hashes that are mined are shown reversed, as Bitcoin's are; those of our blocks as everywhere here.

use alloy_primitives::Address;
use alys_pow::MinedHash;
use alys_proto::{Message, Refused, Reply, chain};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::RpcModule;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// bitcoind's code for an argument that is of the right form and wrong.
const INVALID_PARAMETER: i32 = -8;
/// bitcoind's code for "not now".
const NOT_NOW: i32 = -10;

type Answer<T> = Result<T, ErrorObjectOwned>;

/// The role's own mailbox.
pub(super) type Asker = mpsc::Sender<chain::Inbox>;

/// What `createauxblock` answers with, field by field as Namecoin's.
#[derive(Clone, Debug, Serialize)]
struct AuxBlock {
    /// To be committed to; reversed.
    hash: String,
    chainid: u32,
    /// Our head.
    previousblockhash: String,
    /// Of the parent chain's kind: nothing is paid in it here.
    coinbasevalue: u64,
    /// Compact target, hex.
    bits: String,
    /// Of the block that can hold the bundle.
    height: u64,
    /// Target, little-endian hex.
    #[serde(rename = "_target")]
    target: String,
}

/// Every method this server answers. `asker` leads to the role's own mailbox; `fee_recipient` is who `getauxblock` pays.
///
/// # Errors
/// Two methods have one name.
pub fn all(asker: Asker, fee_recipient: Option<Address>) -> Result<RpcModule<Asker>, RegisterMethodError> {
    let mut module = RpcModule::new(asker);
    module.register_async_method("createauxblock", |params, asker, _| async move {
        let (address,): (String,) = strict(&params)?;
        let address = address.parse().map_err(|_| invalid("the address is not one of Ethereum: 0x and 40 hex digits"))?;
        create(&asker, address).await
    })?;
    module.register_async_method("submitauxblock", |params, asker, _| async move {
        let (hash, proof): (String, String) = strict(&params)?;
        submit(&asker, &hash, &proof).await
    })?;
    module.register_async_method("getauxblock", move |params, asker, _| async move {
        let given: Vec<String> = if params.as_str().is_none() { Vec::new() } else { strict(&params)? };
        match given.as_slice() {
            [] => {
                let address = fee_recipient.ok_or_else(|| {
                    error(INVALID_PARAMETER, "getauxblock pays nobody: set `chain.mining.fee_recipient` or use createauxblock")
                })?;
                Ok(serde_json::to_value(create(&asker, address).await?).unwrap_or_default())
            }
            [hash, proof] => Ok(serde_json::Value::Bool(submit(&asker, hash, proof).await?)),
            _ => Err(invalid("none or two arguments are needed: hash and proof")),
        }
    })?;
    Ok(module)
}

async fn create(asker: &Asker, fee_recipient: Address) -> Answer<AuxBlock> {
    let request = chain::CreateAuxBlock { fee_recipient: fee_recipient.to_vec() };
    let block: chain::AuxBlock = ask(asker, |reply| chain::Inbox::CreateAuxBlock(request, reply)).await?;
    let hash = block.hash.as_slice().try_into().map_err(|_| internal())?;
    Ok(AuxBlock {
        hash: MinedHash(hash).to_string(),
        chainid: block.aux_chain_id,
        previousblockhash: hex::encode(&block.end_hash),
        coinbasevalue: 0,
        bits: format!("{:08x}", block.bits),
        height: block.end_height.saturating_add(1),
        target: block.target.iter().rev().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// True, or an error with the rule that the proof breaks.
async fn submit(asker: &Asker, hash: &str, proof: &str) -> Answer<bool> {
    let hash: MinedHash = hash.parse().map_err(|_| invalid("the hash is not 64 hex digits"))?;
    let proof = hex::decode(proof).map_err(|_| invalid("the proof is not hex"))?;
    let request = chain::SubmitAuxBlock { hash: hash.0.to_vec(), proof };
    let verdict: chain::ProposalVerdict = ask(asker, |reply| chain::Inbox::SubmitAuxBlock(request, reply)).await?;
    if verdict.accepted { Ok(true) } else { Err(error(INVALID_PARAMETER, &verdict.reason)) }
}

async fn ask<T: Message + Default>(asker: &Asker, message: impl FnOnce(Reply<T>) -> chain::Inbox) -> Answer<T> {
    let (answered, answer) = oneshot::channel();
    let reply = Reply::new(Box::new(move |answer| {
        // The caller may have hung up.
        let _gone = answered.send(answer);
    }));
    if asker.try_send(message(reply)).is_err() {
        return Err(error(NOT_NOW, "too many calls wait, or the role is ending"));
    }
    match answer.await {
        Ok(Ok(bytes)) => T::decode(bytes.as_slice()).map_err(|_| internal()),
        Ok(Err(Refused::Failed(reason))) => Err(error(INVALID_PARAMETER, &reason)),
        Ok(Err(refused)) => Err(error(NOT_NOW, &refused.to_string())),
        Err(_ended) => Err(error(NOT_NOW, "the role is ending")),
    }
}

/// Exactly these arguments: one too many is a mistake that must show.
fn strict<T: serde::de::DeserializeOwned>(params: &Params<'_>) -> Answer<T> {
    params.parse().map_err(|cause| invalid(cause.message()))
}

fn invalid(message: &str) -> ErrorObjectOwned {
    error(INVALID_PARAMS_CODE, message)
}

fn internal() -> ErrorObjectOwned {
    error(INTERNAL_ERROR_CODE, "internal error")
}

fn error(code: i32, message: &str) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}
