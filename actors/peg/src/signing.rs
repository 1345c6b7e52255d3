//! Signing a recorded payout: what each member signs, whose signatures count, and when there are enough.
//!
//! A signature is BIP-340 over the tapscript sighash (default type: everything) of one input. Its nonce is derived from
//! the key and the message, so signing again gives the same signature and never a nonce twice [PEG-20].

use std::collections::BTreeMap;

use bitcoin::key::Keypair;
use bitcoin::psbt::Psbt;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighash};
use bitcoin::{TapSighashType, Transaction, TxOut, Txid, XOnlyPublicKey, taproot};
use miniscript::psbt::PsbtExt as _;

use crate::{Federation, Ledger};

/// One member's signature of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSignature {
    /// Which input.
    pub input: u32,
    /// Whose.
    pub public_key: XOnlyPublicKey,
    /// BIP-340, default sighash type.
    pub signature: schnorr::Signature,
}

/// Why there is nothing to sign or to finish.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The ledger does not know this payout [PEG-16].
    #[error("payout {0} is not recorded")]
    NotRecorded(Txid),
    /// The number of spent outputs is not the number of inputs.
    #[error("{prevouts} spent outputs for {inputs} inputs")]
    Prevouts {
        /// Outputs given.
        prevouts: usize,
        /// Inputs of the transaction.
        inputs: usize,
    },
    /// The key is not a member's.
    #[error("{0} is not a federation member's key")]
    NotAMember(XOnlyPublicKey),
    /// The sighash cannot be computed.
    #[error("sighash of input {input}")]
    Sighash {
        /// Which input.
        input: usize,
        /// Why.
        #[source]
        source: bitcoin::sighash::TaprootError,
    },
    /// Fewer signatures than the threshold.
    #[error("input {input} has {signatures} of {threshold} signatures")]
    Incomplete {
        /// The first such input.
        input: usize,
        /// How many there are.
        signatures: usize,
        /// How many there must be.
        threshold: usize,
    },
    /// The transaction is not an unsigned one.
    #[error("not an unsigned transaction")]
    Psbt(#[from] bitcoin::psbt::Error),
    /// The descriptor does not explain an input or output.
    #[error("the federation's descriptor does not fit: {0}")]
    Descriptor(String),
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefusal {
    /// Not a federation member's key.
    #[error("the key is not a federation member's")]
    NotAMember,
    /// The payout has no such input.
    #[error("there is no input {0}")]
    NoSuchInput(u32),
    /// It does not verify.
    #[error("the signature of input {0} does not verify")]
    Invalid(u32),
}

/// Collects the signatures of one payout. Only what verifies gets in.
#[derive(Clone, Debug)]
pub struct Session {
    transaction: Transaction,
    prevouts: Vec<TxOut>,
    federation: Federation,
    sighashes: Vec<TapSighash>,
    /// Per input: by position of the member in the federation.
    signatures: Vec<BTreeMap<usize, schnorr::Signature>>,
}

impl Session {
    /// For a payout that the ledger has recorded: its inputs' outputs come from there [PEG-16].
    pub fn of(ledger: &Ledger, txid: &Txid) -> Result<Self, SigningError> {
        let payout = ledger.payout(txid).ok_or(SigningError::NotRecorded(*txid))?;
        let prevouts = ledger.prevouts(txid).ok_or(SigningError::NotRecorded(*txid))?;
        Self::new(payout.recorded.transaction.clone(), prevouts, ledger.federation().clone())
    }

    /// For any transaction whose inputs all spend the federation's outputs, given in the order of the inputs.
    pub fn new(transaction: Transaction, prevouts: Vec<TxOut>, federation: Federation) -> Result<Self, SigningError> {
        let inputs = transaction.input.len();
        if prevouts.len() != inputs {
            return Err(SigningError::Prevouts { prevouts: prevouts.len(), inputs });
        }
        let mut sighashes = Vec::with_capacity(inputs);
        let mut cache = SighashCache::new(&transaction);
        for input in 0..inputs {
            let sighash = cache
                .taproot_script_spend_signature_hash(
                    input,
                    &Prevouts::All(&prevouts),
                    federation.leaf_hash(),
                    TapSighashType::Default,
                )
                .map_err(|source| SigningError::Sighash { input, source })?;
            sighashes.push(sighash);
        }
        let signatures = vec![BTreeMap::new(); inputs];
        Ok(Self { transaction, prevouts, federation, sighashes, signatures })
    }

    /// The unsigned transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// What is signed, per input.
    pub fn sighashes(&self) -> &[TapSighash] {
        &self.sighashes
    }

    /// Signs every input with a member's key. Does not add the signatures. The same each time.
    pub fn sign(&self, secret: &SecretKey) -> Result<Vec<InputSignature>, SigningError> {
        let secp = Secp256k1::signing_only();
        let pair = Keypair::from_secret_key(&secp, secret);
        let (public_key, _) = pair.x_only_public_key();
        if self.federation.position(&public_key).is_none() {
            return Err(SigningError::NotAMember(public_key));
        }
        let sign = |(input, sighash): (u32, &TapSighash)| InputSignature {
            input,
            public_key,
            signature: secp.sign_schnorr_no_aux_rand(&Message::from(*sighash), &pair),
        };
        Ok((0_u32..).zip(&self.sighashes).map(sign).collect())
    }

    /// Whether a signature counts: a member's, of an input there is, and valid.
    pub fn verify(&self, signature: &InputSignature) -> Result<(), SignatureRefusal> {
        self.federation.position(&signature.public_key).ok_or(SignatureRefusal::NotAMember)?;
        let sighash = usize::try_from(signature.input).ok().and_then(|input| self.sighashes.get(input));
        let sighash = sighash.ok_or(SignatureRefusal::NoSuchInput(signature.input))?;
        Secp256k1::verification_only()
            .verify_schnorr(&signature.signature, &Message::from(*sighash), &signature.public_key)
            .map_err(|_| SignatureRefusal::Invalid(signature.input))
    }

    /// Adds a signature that counts. Another one of the same member for the same input replaces the first.
    pub fn add(&mut self, signature: &InputSignature) -> Result<(), SignatureRefusal> {
        self.verify(signature)?;
        let member = self.federation.position(&signature.public_key).ok_or(SignatureRefusal::NotAMember)?;
        let input = usize::try_from(signature.input).ok().and_then(|input| self.signatures.get_mut(input));
        input.ok_or(SignatureRefusal::NoSuchInput(signature.input))?.insert(member, signature.signature);
        Ok(())
    }

    /// All signatures that counted, by input and member.
    pub fn signatures(&self) -> Vec<InputSignature> {
        let mut all = Vec::new();
        for (input, of_input) in (0_u32..).zip(&self.signatures) {
            for (member, signature) in of_input {
                if let Some(public_key) = self.federation.members().get(*member) {
                    all.push(InputSignature { input, public_key: *public_key, signature: *signature });
                }
            }
        }
        all
    }

    /// Whether a member has signed every input.
    pub fn has_signed(&self, member: &XOnlyPublicKey) -> bool {
        let position = self.federation.position(member);
        position.is_some_and(|member| self.signatures.iter().all(|of_input| of_input.contains_key(&member)))
    }

    /// Whether every input has enough signatures.
    pub fn is_complete(&self) -> bool {
        self.signatures.iter().all(|of_input| of_input.len() >= self.federation.threshold())
    }

    /// The signed transaction, ready to broadcast. The same on every node that has the same signatures.
    pub fn finish(&self) -> Result<Transaction, SigningError> {
        let mut signed = self.transaction.clone();
        for (input, (txin, of_input)) in signed.input.iter_mut().zip(&self.signatures).enumerate() {
            let bytes: BTreeMap<usize, [u8; 64]> =
                of_input.iter().map(|(member, signature)| (*member, signature.serialize())).collect();
            let witness = self.federation.witness(|member| bytes.get(&member).map(<[u8; 64]>::as_slice));
            txin.witness = witness.ok_or(SigningError::Incomplete {
                input,
                signatures: of_input.len(),
                threshold: self.federation.threshold(),
            })?;
        }
        Ok(signed)
    }

    /// A PSBT with everything a signer or wallet needs (spent outputs, leaf, control block), and the signatures so far.
    pub fn psbt(&self) -> Result<Psbt, SigningError> {
        let mut psbt = Psbt::from_unsigned_tx(self.transaction.clone())?;
        for (input, prevout) in psbt.inputs.iter_mut().zip(&self.prevouts) {
            input.witness_utxo = Some(prevout.clone());
        }
        let descriptor = self.federation.descriptor();
        for input in 0..psbt.inputs.len() {
            psbt.update_input_with_descriptor(input, descriptor).map_err(|cause| SigningError::Descriptor(cause.to_string()))?;
        }
        for (position, output) in self.transaction.output.iter().enumerate() {
            if output.script_pubkey.as_script() == self.federation.script_pubkey() {
                psbt.update_output_with_descriptor(position, descriptor)
                    .map_err(|cause| SigningError::Descriptor(cause.to_string()))?;
            }
        }
        let leaf = self.federation.leaf_hash();
        for (input, of_input) in psbt.inputs.iter_mut().zip(&self.signatures) {
            for (member, signature) in of_input {
                if let Some(public_key) = self.federation.members().get(*member) {
                    let signature = taproot::Signature { signature: *signature, sighash_type: TapSighashType::Default };
                    input.tap_script_sigs.insert((*public_key, leaf), signature);
                }
            }
        }
        Ok(psbt)
    }
}
