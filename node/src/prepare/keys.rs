//! The four kinds of keys, in files that only their owner can read: 64 hex digits (32 secret bytes), and for the network
//! libp2p's own encoding of a key pair.

use std::fmt;
use std::path::Path;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use clap::ValueEnum;
use libp2p::identity;

use super::files;
use crate::failure::{Failure, OrFail as _, Outcome};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ed25519: votes and proposals of a validator.
    Validator,
    /// secp256k1, BIP-340: one member's share of the federation.
    Governance,
    /// secp256k1: an account on the sidechain.
    Evm,
    /// Ed25519: the identity in the peer-to-peer network.
    Network,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "validator",
            Self::Governance => "governance",
            Self::Evm => "evm",
            Self::Network => "network",
        })
    }
}

/// A secret of any kind. Never shown.
#[derive(Clone)]
pub struct Secret {
    kind: Kind,
    bytes: [u8; 32],
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key (redacted)", self.kind)
    }
}

impl Secret {
    /// A new one from the operating system's randomness.
    pub fn generate(kind: Kind) -> Self {
        loop {
            let secret = Self { kind, bytes: rand::random() };
            // A number outside of the curve's order comes up once in 2^127 tries.
            if secret.public().is_ok() {
                return secret;
            }
        }
    }

    /// Reads a key file.
    pub fn read(kind: Kind, path: &Path) -> Outcome<Self> {
        let content = files::read_secret(path)?;
        let bytes = if kind == Kind::Network { network_bytes(&content) } else { digits(&content) };
        let Some(bytes) = bytes else {
            let form = if kind == Kind::Network { "libp2p's encoding of an ed25519 key pair" } else { "64 hex digits" };
            return Err(Failure::configuration(format!("{} is not a {kind} key: it must hold {form}", path.display())));
        };
        let secret = Self { kind, bytes };
        secret.public()?;
        Ok(secret)
    }

    /// The content of its file.
    pub fn to_file(&self) -> Outcome<Vec<u8>> {
        match self.kind {
            Kind::Network => self.pair()?.to_protobuf_encoding().or_bug("an ed25519 key has an encoding"),
            _ => Ok(format!("{}\n", hex::encode(self.bytes)).into_bytes()),
        }
    }

    /// What others know of it: a public key in hex, an address, or a peer id.
    pub fn public(&self) -> Outcome<String> {
        Ok(match self.kind {
            Kind::Validator => self.validator().to_string(),
            Kind::Governance => self.federation()?.to_string(),
            Kind::Evm => self.signer()?.address().to_string(),
            Kind::Network => self.pair()?.public().to_peer_id().to_string(),
        })
    }

    /// The validator's public key.
    pub fn validator(&self) -> B256 {
        B256::from(*malachite_ed25519::PrivateKey::from(self.bytes).public_key().as_bytes())
    }

    /// The federation member's x-only public key.
    pub fn federation(&self) -> Outcome<B256> {
        let secret = SecretKey::from_slice(&self.bytes).or_configuration("not a secp256k1 key")?;
        let (public, _) = Keypair::from_secret_key(&Secp256k1::signing_only(), &secret).x_only_public_key();
        Ok(B256::from(public.serialize()))
    }

    /// The account's signer.
    pub fn signer(&self) -> Outcome<PrivateKeySigner> {
        PrivateKeySigner::from_bytes(&B256::from(self.bytes)).or_configuration("not a secp256k1 key")
    }

    /// The account's address.
    pub fn address(&self) -> Outcome<Address> {
        Ok(self.signer()?.address())
    }

    fn pair(&self) -> Outcome<identity::Keypair> {
        identity::Keypair::ed25519_from_bytes(self.bytes).or_configuration("not an ed25519 key")
    }
}

fn digits(content: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(content).ok()?.trim();
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?.try_into().ok()
}

fn network_bytes(content: &[u8]) -> Option<[u8; 32]> {
    let pair = identity::Keypair::from_protobuf_encoding(content).ok()?.try_into_ed25519().ok()?;
    pair.secret().as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_kind_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        for kind in Kind::value_variants() {
            let path = directory.path().join(format!("{kind}.key"));
            let made = Secret::generate(*kind);
            files::secret(&path, made.to_file().unwrap()).unwrap();
            let read = Secret::read(*kind, &path).unwrap();
            assert_eq!(read.public().unwrap(), made.public().unwrap());
            assert!(!format!("{read:?}").contains(&hex::encode(read.bytes)), "a secret shows");
        }
    }

    #[test]
    fn known_keys_have_their_known_public_halves() {
        let one = |kind| Secret { kind, bytes: B256::with_last_byte(1).0 };
        assert_eq!(one(Kind::Evm).public().unwrap(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        // x of the generator point.
        assert_eq!(one(Kind::Governance).public().unwrap(), "0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
        assert!(Secret { kind: Kind::Evm, bytes: [0; 32] }.public().is_err());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("short", "00ff"), ("words", "not hex"), ("zero", &"00".repeat(32))] {
            let path = directory.path().join(name);
            files::secret(&path, text).unwrap();
            assert!(Secret::read(Kind::Governance, &path).is_err(), "{name}");
            assert!(Secret::read(Kind::Network, &path).is_err(), "{name}");
        }
    }
}
