//! The federation's watch-only wallet (BDK): makes the PSBT of a recorded payout and finalises it.
//!
//! It keeps nothing. BDK's change sets hold three things: the descriptor, which is in the chain specification; the
//! revealed indices, of which a descriptor without wildcard has none; and the chain of coins, which for us is the ledger,
//! a function of the sidechain [PEG-12]. A second, separately stored copy of the coins could disagree with the ledger
//! after a crash between the two; so the wallet is made anew from the specification at each start, and is told the
//! outputs that a payout spends each time.

use bdk_wallet::chain::ChainPosition;
use bdk_wallet::error::CreateTxError;
use bdk_wallet::{KeychainKind, LocalOutput, Wallet};
use bitcoin::psbt::{Error as PsbtError, ExtractTxError, Psbt};
use bitcoin::{TapSighashType, Transaction, TxOut, Txid, taproot};
use miniscript::psbt::PsbtExt as _;

use alys_peg::{Federation, InputSignature};

use crate::core::effect::Signable;

/// The federation's descriptor has no wildcard: its one script is at index 0.
const ONLY_INDEX: u32 = 0;

/// The wallet.
pub struct FederationWallet {
    wallet: Wallet,
    federation: Federation,
}

/// Why there is no PSBT or no signed transaction.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// BDK refuses the federation's descriptor.
    #[error("the wallet refuses the federation's descriptor: {0}")]
    Descriptor(String),
    /// The wallet's script is not the federation's.
    #[error("the wallet does not watch the federation's script")]
    OtherScript,
    /// The recorded transaction is not an unsigned one.
    #[error("the recorded transaction cannot be a PSBT")]
    NotUnsigned(#[from] PsbtError),
    /// An input has no known output.
    #[error("{prevouts} spent outputs for {inputs} inputs")]
    Prevouts {
        /// Outputs known.
        prevouts: usize,
        /// Inputs there are.
        inputs: usize,
    },
    /// BDK cannot describe an input.
    #[error("the wallet cannot describe an input")]
    Input(#[from] CreateTxError),
    /// An output that pays us does not match the descriptor.
    #[error("the wallet cannot describe the change: {0}")]
    Change(String),
    /// Not enough signatures, or one that does not fit.
    #[error("the wallet cannot finalise input {0}")]
    NotFinal(usize),
    /// The finished transaction pays an absurd fee, or lacks a value.
    #[error("the finalised transaction cannot be extracted")]
    Extract(#[from] Box<ExtractTxError>),
    /// The result is another transaction than the recorded one [PEG-13].
    #[error("the wallet made transaction {made}, the block records {recorded}")]
    OtherTransaction {
        /// What came out.
        made: Txid,
        /// What was recorded.
        recorded: Txid,
    },
}

impl FederationWallet {
    /// The wallet of a federation.
    pub fn new(federation: &Federation) -> Result<Self, WalletError> {
        let wallet = Wallet::create_single(federation.descriptor_text())
            .network(federation.network())
            .create_wallet_no_persist()
            .map_err(|refused| WalletError::Descriptor(refused.to_string()))?;
        if !wallet.is_mine(federation.script_pubkey().to_owned()) {
            return Err(WalletError::OtherScript);
        }
        Ok(Self { wallet, federation: federation.clone() })
    }

    /// The PSBT of exactly the recorded transaction, with everything that a signer needs: the spent outputs, the leaf and
    /// its control block, the keys.
    pub fn psbt(&self, payout: &Signable) -> Result<Psbt, WalletError> {
        let transaction = &payout.recorded.transaction;
        if transaction.input.len() != payout.prevouts.len() {
            return Err(WalletError::Prevouts { prevouts: payout.prevouts.len(), inputs: transaction.input.len() });
        }
        let mut psbt = Psbt::from_unsigned_tx(transaction.clone())?;
        for ((input, txin), prevout) in psbt.inputs.iter_mut().zip(&transaction.input).zip(&payout.prevouts) {
            *input = self.wallet.get_psbt_input(spent_output(txin.previous_output, prevout), None, true)?;
            input.witness_utxo = Some(prevout.clone());
        }
        let descriptor = self
            .wallet
            .public_descriptor(KeychainKind::External)
            .at_derivation_index(ONLY_INDEX)
            .map_err(|refused| WalletError::Change(refused.to_string()))?;
        for (position, output) in transaction.output.iter().enumerate() {
            if output.script_pubkey.as_script() == self.federation.script_pubkey() {
                psbt.update_output_with_descriptor(position, &descriptor)
                    .map_err(|refused| WalletError::Change(refused.to_string()))?;
            }
        }
        same_transaction(&psbt.unsigned_tx, transaction)?;
        Ok(psbt)
    }

    /// The signed transaction. Of the signatures exactly the threshold is used for each input, in the order of the
    /// descriptor's keys, so the same signatures always give the same bytes.
    pub fn finalise(&self, payout: &Signable, signatures: &[InputSignature]) -> Result<Transaction, WalletError> {
        let mut psbt = self.psbt(payout)?;
        let leaf = self.federation.leaf_hash();
        for (number, input) in (0_u32..).zip(&mut psbt.inputs) {
            let mut of_input: Vec<&InputSignature> = signatures.iter().filter(|signature| signature.input == number).collect();
            of_input.sort_by_key(|signature| self.federation.position(&signature.public_key));
            for signature in of_input.into_iter().take(self.federation.threshold()) {
                let value = taproot::Signature { signature: signature.signature, sighash_type: TapSighashType::Default };
                input.tap_script_sigs.insert((signature.public_key, leaf), value);
            }
        }
        // What it says of each input is in the PSBT itself: a witness, or none.
        let _outcome = self.wallet.try_finalize_psbt(&mut psbt);
        if let Some(input) = psbt.inputs.iter().position(|input| input.final_script_witness.is_none()) {
            return Err(WalletError::NotFinal(input));
        }
        let signed = psbt.extract_tx().map_err(Box::new)?;
        same_transaction(&signed, &payout.recorded.transaction)?;
        Ok(signed)
    }
}

fn same_transaction(made: &Transaction, recorded: &Transaction) -> Result<(), WalletError> {
    let (made, recorded) = (made.compute_txid(), recorded.compute_txid());
    if made == recorded { Ok(()) } else { Err(WalletError::OtherTransaction { made, recorded }) }
}

/// The wallet looks at the script only.
fn spent_output(outpoint: bitcoin::OutPoint, txout: &TxOut) -> LocalOutput {
    LocalOutput {
        outpoint,
        txout: txout.clone(),
        keychain: KeychainKind::External,
        is_spent: false,
        derivation_index: ONLY_INDEX,
        chain_position: ChainPosition::Unconfirmed { first_seen: None, last_seen: None },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alys_peg::{FeeRate, PayoutRecorded, Session};
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn};

    use super::*;
    use crate::core::fixture::{member, spec, transaction_of};

    fn federation() -> Federation {
        Federation::try_from(spec().as_ref()).unwrap()
    }

    /// Two inputs, one payment, change.
    fn payout() -> Signable {
        let script = federation().script_pubkey().to_owned();
        let input =
            |vout| TxIn { previous_output: OutPoint { vout, ..OutPoint::null() }, sequence: Sequence::MAX, ..TxIn::default() };
        let output = |sats, script_pubkey| TxOut { value: Amount::from_sat(sats), script_pubkey };
        let transaction = transaction_of(
            vec![input(0), input(1)],
            vec![output(40_000, ScriptBuf::new_op_return([1; 4])), output(59_000, script.clone())],
        );
        let recorded = PayoutRecorded { transaction, fee_rate: FeeRate(1_000), burns: vec![] };
        Signable { recorded, height: 5, prevouts: vec![output(50_000, script.clone()), output(50_000, script)] }
    }

    fn sign(payout: &Signable, members: &[u8]) -> (Session, Vec<InputSignature>) {
        let mut session = Session::new(payout.recorded.transaction.clone(), payout.prevouts.clone(), federation()).unwrap();
        for number in members {
            for signature in session.sign(&member(*number).secret_key()).unwrap() {
                session.add(&signature).unwrap();
            }
        }
        let signatures = session.signatures();
        (session, signatures)
    }

    #[test]
    fn the_psbt_is_the_recorded_transaction_with_all_a_signer_needs() {
        let payout = payout();
        let psbt = FederationWallet::new(&federation()).unwrap().psbt(&payout).unwrap();
        assert_eq!(psbt.unsigned_tx, payout.recorded.transaction);
        for (input, prevout) in psbt.inputs.iter().zip(&payout.prevouts) {
            assert_eq!(input.witness_utxo.as_ref(), Some(prevout));
            assert_eq!(
                input.tap_scripts.get(federation().control_block()).map(|(script, _)| script.as_script()),
                Some(federation().leaf_script())
            );
            assert!(federation().members().iter().all(|key| input.tap_key_origins.contains_key(key)));
        }
        assert!(psbt.outputs[0].tap_tree.is_none());
        assert!(psbt.outputs[1].tap_tree.is_some(), "a signer can recognise the change");
    }

    #[test]
    fn bdk_and_the_peg_rules_finalise_to_the_same_bytes() {
        let (payout, wallet) = (payout(), FederationWallet::new(&federation()).unwrap());
        for members in [[0, 1].as_slice(), &[0, 2], &[1, 2], &[0, 1, 2]] {
            let (session, signatures) = sign(&payout, members);
            let signed = wallet.finalise(&payout, &signatures).unwrap();
            assert_eq!(signed, session.finish().unwrap(), "{members:?}");
        }
    }

    #[test]
    fn too_few_signatures_finalise_nothing() {
        let (payout, wallet) = (payout(), FederationWallet::new(&federation()).unwrap());
        let (_, mut signatures) = sign(&payout, &[0, 2]);
        signatures.retain(|signature| signature.input == 0 || signature.public_key == member(0).x_only_public_key().0);
        assert!(matches!(wallet.finalise(&payout, &signatures), Err(WalletError::NotFinal(1))));
    }

    #[test]
    fn an_output_that_is_not_ours_is_not_described() {
        let mut payout = payout();
        payout.prevouts[1].script_pubkey = ScriptBuf::new();
        let wallet = FederationWallet::new(&federation()).unwrap();
        assert!(matches!(wallet.psbt(&payout), Err(WalletError::Input(_))));
        payout.prevouts.pop();
        assert!(matches!(wallet.psbt(&payout), Err(WalletError::Prevouts { .. })));
    }
}
