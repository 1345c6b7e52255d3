//! What bridge reads from storage: everything at its start, the ledger again when it missed a block.

use std::sync::Arc;
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Remote};
use alys_peg::Ledger;
use alys_proto::storage::{self, GetDocuments, GetLedger, Inbox};
use alys_proto::{Height, Refused};

use crate::io::outbox::OWNER;

const DEADLINE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

/// The ledger as of the head.
pub(crate) async fn ledger(storage: &Remote<Inbox>, spec: &Arc<ChainSpec>) -> Result<Ledger, ActorError> {
    let stored = until_answered(|| ledger_facts(storage)).await?;
    Ledger::replay(spec, Height(stored.height), &stored.facts)
        .map_err(|error| ActorError::Broken(format!("the stored ledger does not replay: {error}")))
}

/// All documents of bridge by name. Coins are asked for in sixteen parts, so that no answer outgrows a message.
pub(crate) async fn documents(storage: &Remote<Inbox>) -> Result<Vec<(String, Vec<u8>)>, ActorError> {
    let coins = "0123456789abcdef".chars().map(|digit| format!("coin/{digit}"));
    let others = ["block/", "spend/", "signature/"].into_iter().map(str::to_owned);
    let mut documents = Vec::new();
    for prefix in others.chain(coins) {
        let question = || storage.ask_within(DEADLINE, GetDocuments { owner: OWNER.into(), prefix: prefix.clone() });
        let found = until_answered(question).await?;
        documents.extend(found.documents.into_iter().map(|document| (document.key, document.value)));
    }
    Ok(documents)
}

/// All facts as of the head, page by page.
pub(crate) async fn ledger_facts(storage: &Remote<Inbox>) -> Result<storage::Ledger, Refused> {
    let mut whole = storage::Ledger::default();
    let mut from_height = 0;
    loop {
        let page = storage.ask_within(DEADLINE, GetLedger { paged: true, from_height }).await?;
        whole.height = page.height;
        whole.facts.extend(page.facts);
        from_height = page.next_height;
        if from_height == 0 {
            return Ok(whole);
        }
    }
}

/// Asks until storage answers: the role is starting as long.
async fn until_answered<T, F: Future<Output = Result<T, Refused>>>(question: impl Fn() -> F) -> Result<T, ActorError> {
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(refused) if refused.is_passing() => {
                tracing::debug!(%refused, "storage is not there yet");
                tokio::time::sleep(RETRY).await;
            }
            Err(refused) => return Err(ActorError::Temporary(format!("storage refuses what bridge needs to start: {refused}"))),
        }
    }
}
