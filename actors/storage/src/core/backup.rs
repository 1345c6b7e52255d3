//! What a backup says of itself.

use serde::{Deserialize, Serialize};

use super::commit::ChainId;

/// Form of the manifest and of the folder that it is in.
pub const FORMAT: u32 = 1;
/// Name of the manifest in the backup's folder.
pub const MANIFEST_FILE: &str = "manifest.json";

/// `manifest.json` of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Schema of the database.
    pub schema: u64,
    /// EVM chain id.
    pub chain_id: u64,
    /// Genesis hash, hex.
    pub genesis: String,
    /// Height of the last block in it; 0: none.
    pub head_height: u64,
    /// Its hash, hex; empty: none.
    pub head_hash: String,
    /// Blocks below this are pruned; 0: none is.
    pub pruned_below: u64,
    /// When it was made, Unix seconds.
    pub created_unix: u64,
    /// Size of the database file.
    pub bytes: u64,
    /// SHA-256 of the database file, hex.
    pub sha256: String,
}

/// Why a backup is not for this database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A later form.
    #[error("the backup has form {0}, this build knows {FORMAT}")]
    Format(u32),
    /// A later schema.
    #[error("the backup has schema {found}, this build knows up to {known}: use the alys version that made it")]
    NewerSchema {
        /// In the backup.
        found: u64,
        /// Of this build.
        known: u64,
    },
    /// Of another chain.
    #[error(
        "the backup is of chain {found_id} with genesis {found}, the specification says chain {wanted_id} with genesis {wanted}"
    )]
    OtherChain {
        /// Chain id in the backup.
        found_id: u64,
        /// Genesis in the backup.
        found: String,
        /// Chain id of the specification.
        wanted_id: u64,
        /// Genesis of the specification.
        wanted: String,
    },
    /// The engine's state cannot be made from it.
    #[error(
        "blocks below {0} are pruned in the backup, so the engine's state cannot be made anew from it: sync a new node instead; if the engine's folder is of this very height, --keep-engine leaves it in place"
    )]
    Pruned(u64),
}

/// The database is not the one that was backed up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the backup's database is damaged: {bytes} bytes with SHA-256 {sha256}, the manifest says {expected_bytes} with {expected_sha256}"
)]
pub struct WrongSum {
    /// Size of the file.
    pub bytes: u64,
    /// Its sum.
    pub sha256: String,
    /// Of the manifest.
    pub expected_bytes: u64,
    /// Of the manifest.
    pub expected_sha256: String,
}

impl Manifest {
    /// Whether a file of this size and SHA-256 is the database that was backed up.
    pub fn matches(&self, (bytes, sha256): (u64, String)) -> Result<(), WrongSum> {
        if (bytes, &sha256) == (self.bytes, &self.sha256) {
            return Ok(());
        }
        Err(WrongSum { bytes, sha256, expected_bytes: self.bytes, expected_sha256: self.sha256.clone() })
    }

    /// Whether it can be restored as a database of `chain` by a build of schema `known`.
    pub fn fits(&self, chain: ChainId, known: u64, engine_is_kept: bool) -> Result<(), Misfit> {
        if self.format != FORMAT {
            return Err(Misfit::Format(self.format));
        }
        if self.schema > known {
            return Err(Misfit::NewerSchema { found: self.schema, known });
        }
        let wanted = chain.genesis.to_string();
        if self.chain_id != chain.id || self.genesis != wanted {
            let (found_id, found) = (self.chain_id, self.genesis.clone());
            return Err(Misfit::OtherChain { found_id, found, wanted_id: chain.id, wanted });
        }
        if self.pruned_below > 0 && !engine_is_kept {
            return Err(Misfit::Pruned(self.pruned_below));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tests::kit::CHAIN;

    #[test]
    fn a_backup_fits_its_own_chain_and_schema_only() {
        let good = Manifest {
            format: FORMAT,
            schema: 2,
            chain_id: CHAIN.id,
            genesis: CHAIN.genesis.to_string(),
            head_height: 7,
            head_hash: String::new(),
            pruned_below: 0,
            created_unix: 1,
            bytes: 1,
            sha256: String::new(),
        };
        assert_eq!(good.fits(CHAIN, 2, false), Ok(()));
        assert_eq!(good.fits(CHAIN, 3, false), Ok(()), "an older one is led up");
        assert_eq!(good.fits(CHAIN, 1, false), Err(Misfit::NewerSchema { found: 2, known: 1 }));
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = good.clone();
            change(&mut manifest);
            manifest
        };
        assert_eq!(changed(|m| m.format = 2).fits(CHAIN, 2, false), Err(Misfit::Format(2)));
        for other in [changed(|m| m.chain_id = 1), changed(|m| m.genesis = "00".into())] {
            assert!(matches!(other.fits(CHAIN, 2, true), Err(Misfit::OtherChain { .. })));
        }
        let pruned = changed(|m| m.pruned_below = 5);
        assert_eq!((pruned.fits(CHAIN, 2, false), pruned.fits(CHAIN, 2, true)), (Err(Misfit::Pruned(5)), Ok(())));
    }
}
