//! Answers chain's question about a block's peg claims with what bitcoind says.

use alys_proto::bridge::{PegOperationsVerdict, ValidatePegOperations, peg_operations_verdict};

use crate::core::Rules;
use crate::core::validate::{Claims, Verdict};
use crate::io::bitcoind::Bitcoind;

/// Judges the claims. Trouble with bitcoind is "lagging", never "invalid".
pub(crate) async fn answer(bitcoind: &Bitcoind, rules: &Rules, question: &ValidatePegOperations) -> PegOperationsVerdict {
    let verdict = match Claims::check(question, &rules.federation, &rules.peg) {
        Err(reason) => Verdict::Invalid(reason),
        Ok(claims) => judge(bitcoind, &claims).await,
    };
    let (verdict, reason) = match verdict {
        Verdict::Valid => (peg_operations_verdict::Verdict::Valid, String::new()),
        Verdict::Invalid(reason) => (peg_operations_verdict::Verdict::Invalid, reason),
        Verdict::Lagging(reason) => (peg_operations_verdict::Verdict::Lagging, reason),
    };
    PegOperationsVerdict { verdict: verdict.into(), reason }
}

async fn judge(bitcoind: &Bitcoind, claims: &Claims) -> Verdict {
    // The network is checked with the tip: another network's node would know none of the blocks.
    if let Err(error) = bitcoind.tip().await {
        return Verdict::Lagging(error.chain());
    }
    match bitcoind.headers(&claims.blocks()).await {
        Ok(headers) => claims.judge(&headers),
        Err(error) => Verdict::Lagging(error.chain()),
    }
}
