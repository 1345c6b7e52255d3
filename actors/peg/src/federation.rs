//! Who holds the coins: a taproot output whose key path nobody can take and whose only leaf is `multi_a(k, keys…)`.

use std::sync::Arc;

use alys_blocks::ChainSpec;
use bitcoin::taproot::{ControlBlock, LeafVersion, TapLeafHash};
use bitcoin::{Address, Network, Script, ScriptBuf, Witness, XOnlyPublicKey};
use miniscript::{DefiniteDescriptorKey, Descriptor};

/// The point of BIP-341 whose discrete logarithm nobody knows: an internal key that cannot sign.
pub const NUMS: &str = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";

/// Most members. The specification refuses more, and a witness stays below 2.5 kB.
pub const MAX_MEMBERS: usize = 20;

/// Bytes of a BIP-340 signature with the default sighash type.
const SIGNATURE_BYTES: usize = 64;

/// Why these members cannot be a federation.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// No members, or too many.
    #[error("a federation has between 1 and {MAX_MEMBERS} members, not {0}")]
    Members(usize),
    /// The threshold is 0 or above the number of members.
    #[error("threshold {threshold} does not fit {members} members")]
    Threshold {
        /// Signatures asked for.
        threshold: usize,
        /// Members there are.
        members: usize,
    },
    /// A key is there twice.
    #[error("federation key {0} appears twice")]
    Repeated(XOnlyPublicKey),
    /// A key is the unspendable one.
    #[error("federation key {NUMS} belongs to nobody")]
    Unspendable,
    /// A key of the specification is not a point of the curve.
    #[error("public key of federation member {member} is not valid")]
    Key {
        /// Its name.
        member: String,
        /// What the curve library says.
        #[source]
        source: bitcoin::secp256k1::Error,
    },
    /// The specification names a network that Bitcoin does not have.
    #[error("unknown Bitcoin network `{0}`")]
    Network(String),
    /// The descriptor library refuses the policy.
    #[error("descriptor refused")]
    Descriptor(#[from] miniscript::Error),
    /// The descriptor library made something other than a single-leaf taproot output.
    #[error("the descriptor is not a single taproot leaf")]
    Shape,
}

/// A federation: `threshold` of `members`, on one Bitcoin network. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    threshold: usize,
    members: Vec<XOnlyPublicKey>,
    network: Network,
    descriptor: Descriptor<DefiniteDescriptorKey>,
    script_pubkey: ScriptBuf,
    address: Address,
    leaf_script: ScriptBuf,
    control_block: ControlBlock,
}

impl Federation {
    /// A federation in which `threshold` of `members` must sign. The order of the members is part of the address.
    pub fn new(threshold: usize, members: Vec<XOnlyPublicKey>, network: Network) -> Result<Self, FederationError> {
        check_members(threshold, &members)?;
        let keys: Vec<String> = members.iter().map(ToString::to_string).collect();
        let text = format!("tr({NUMS},multi_a({threshold},{}))", keys.join(","));
        let descriptor: Descriptor<DefiniteDescriptorKey> = text.parse()?;
        let Descriptor::Tr(taproot) = &descriptor else { return Err(FederationError::Shape) };
        let (_, leaf) = taproot.iter_scripts().next().ok_or(FederationError::Shape)?;
        let leaf_script = leaf.encode();
        let control_block =
            taproot.spend_info().control_block(&(leaf_script.clone(), LeafVersion::TapScript)).ok_or(FederationError::Shape)?;
        let script_pubkey = descriptor.script_pubkey();
        let address = taproot.address(network);
        Ok(Self(Arc::new(Parts { threshold, members, network, descriptor, script_pubkey, address, leaf_script, control_block })))
    }

    /// Signatures that a spend needs.
    pub fn threshold(&self) -> usize {
        self.0.threshold
    }

    /// The members' keys, in descriptor order.
    pub fn members(&self) -> &[XOnlyPublicKey] {
        &self.0.members
    }

    /// Position of a member's key; `None` for a stranger.
    pub fn position(&self, key: &XOnlyPublicKey) -> Option<usize> {
        self.0.members.iter().position(|member| member == key)
    }

    /// The Bitcoin network.
    pub fn network(&self) -> Network {
        self.0.network
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &Descriptor<DefiniteDescriptorKey> {
        &self.0.descriptor
    }

    /// The descriptor as text, with its checksum (`tr(…)#abcdefgh`).
    pub fn descriptor_text(&self) -> String {
        self.0.descriptor.to_string()
    }

    /// The script that deposits and change pay.
    pub fn script_pubkey(&self) -> &Script {
        &self.0.script_pubkey
    }

    /// The deposit address.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The `multi_a` leaf.
    pub fn leaf_script(&self) -> &Script {
        &self.0.leaf_script
    }

    /// Hash of the leaf, which every signature commits to.
    pub fn leaf_hash(&self) -> TapLeafHash {
        TapLeafHash::from_script(&self.0.leaf_script, LeafVersion::TapScript)
    }

    /// Proof that the leaf is in the output.
    pub fn control_block(&self) -> &ControlBlock {
        &self.0.control_block
    }

    /// The witness that spends one coin. `signature` gives a member's signature by position; the first `threshold`
    /// that exist are used. `None` when there are fewer.
    ///
    /// The script asks for the first key's signature first, so it lies on top: the stack is in reverse key order,
    /// with an empty element for each member that does not sign.
    pub fn witness<'s>(&self, signature: impl Fn(usize) -> Option<&'s [u8]>) -> Option<Witness> {
        let mut elements: Vec<&[u8]> = Vec::with_capacity(self.0.members.len());
        let mut signed = 0_usize;
        for position in 0..self.0.members.len() {
            let used = if signed < self.0.threshold { signature(position) } else { None };
            signed = signed.saturating_add(usize::from(used.is_some()));
            elements.push(used.unwrap_or_default());
        }
        if signed < self.0.threshold {
            return None;
        }
        elements.reverse();
        let mut witness = Witness::from_slice(&elements);
        witness.push(self.0.leaf_script.as_bytes());
        witness.push(self.0.control_block.serialize());
        Some(witness)
    }

    /// A witness of exactly the size that every real one has: signatures are always 64 bytes.
    pub fn placeholder_witness(&self) -> Witness {
        self.witness(|_| Some(&[0_u8; SIGNATURE_BYTES])).expect("every member signs here, and the threshold is at most that many")
    }
}

fn check_members(threshold: usize, members: &[XOnlyPublicKey]) -> Result<(), FederationError> {
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(FederationError::Members(members.len()));
    }
    if threshold == 0 || threshold > members.len() {
        return Err(FederationError::Threshold { threshold, members: members.len() });
    }
    for (position, key) in members.iter().enumerate() {
        if key.to_string() == NUMS {
            return Err(FederationError::Unspendable);
        }
        if members.iter().take(position).any(|earlier| earlier == key) {
            return Err(FederationError::Repeated(*key));
        }
    }
    Ok(())
}

impl TryFrom<&ChainSpec> for Federation {
    type Error = FederationError;

    fn try_from(spec: &ChainSpec) -> Result<Self, FederationError> {
        let network = spec.bitcoin.network.parse().map_err(|_| FederationError::Network(spec.bitcoin.network.clone()))?;
        let mut members = Vec::with_capacity(spec.federation.members.len());
        for member in &spec.federation.members {
            let key = XOnlyPublicKey::from_slice(member.public_key.as_slice())
                .map_err(|source| FederationError::Key { member: member.name.clone(), source })?;
            members.push(key);
        }
        Self::new(usize::try_from(spec.federation.threshold).unwrap_or(usize::MAX), members, network)
    }
}
