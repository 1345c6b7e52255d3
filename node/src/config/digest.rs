//! What a role reads of the configuration as a digest: processes of a role with the same one were started alike.
//!
//! In it are the settings of its own section and of the shell, wherever they came from, and the chain specification. Not in
//! it is what files hold that settings only name: keys and certificates are read when they are used, or with a restart.

use std::path::Path;
use std::sync::Arc;

use alys_cluster::generation::Origin;
use alys_proto::Role;
use sha2::{Digest as _, Sha256};

use super::show::settings;
use super::{Loaded, Override, load};
use crate::failure::Outcome;

/// Bytes of the digest that are kept: it tells changes apart, it proves nothing.
const BYTES: usize = 8;

/// Sections that a role reads beside its own.
fn is_read_by(role: Role, key: &str) -> bool {
    let section = key.split('.').next().unwrap_or(key);
    let shared = ["cluster", "data_dir"].contains(&section) || key == "local.metrics_port_base";
    shared || section == role.name() || (role == Role::Supervisor && ["supervision", "local"].contains(&section))
}

/// The digest of what this role reads, in hexadecimal.
///
/// # Errors
/// The chain specification cannot be used: the role would not start.
pub fn digest(loaded: &Loaded, role: Role) -> Outcome<String> {
    loaded.spec()?;
    let mut hash = Sha256::new();
    for setting in settings(&loaded.layers) {
        if is_read_by(role, &setting.key) {
            hash.update(format!("{}={}\n", setting.key, setting.value));
        }
    }
    hash.update(std::fs::read(&loaded.config.chain_spec_file).unwrap_or_default());
    Ok(hash.finalize().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect())
}

/// For the role's shell: what it was started with, and how to find out what a start would have now.
///
/// # Errors
/// As [`digest`].
pub fn origin(loaded: &Loaded, overrides: &[Override], role: Role) -> Outcome<Origin> {
    let configuration = digest(loaded, role)?;
    let (file, overrides) = (loaded.file.clone(), overrides.to_vec());
    let files = vec![file.clone(), loaded.config.chain_spec_file.clone()];
    let now = move || now(&file, &overrides, role).map_err(|failure| format!("{:#}", failure.report));
    Ok(Origin { configuration, files, digest: Some(Arc::new(now)) })
}

fn now(file: &Path, overrides: &[Override], role: Role) -> Outcome<String> {
    digest(&load(file, overrides)?, role)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::prepare::{DevChain, dev};

    #[test]
    fn a_role_has_another_digest_when_what_it_reads_is_another() {
        let folder = tempfile::tempdir().unwrap();
        dev(folder.path(), &DevChain::default()).unwrap();
        let file = folder.path().join("alys.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let of = |role| now(&file, &[], role).map_err(|failure| failure.to_string());
        let all = || [Role::Storage, Role::Bridge, Role::Supervisor].map(of);
        let before = all();
        assert!(before.iter().all(Result::is_ok) && before == all(), "{before:?}");
        assert_ne!(before[0], before[1]);

        let set = [Override::new("bridge.poll_interval", "7s", "--set")];
        assert_ne!(now(&file, &set, Role::Bridge).unwrap(), before[1].clone().unwrap());
        assert_eq!(now(&file, &set, Role::Storage).unwrap(), before[0].clone().unwrap());
        let set = [Override::new("cluster.telemetry.filter", "debug", "--set")];
        assert_ne!(now(&file, &set, Role::Storage).unwrap(), before[0].clone().unwrap());

        std::fs::write(&file, format!("{text}\n# a comment changes nothing\n")).unwrap();
        assert_eq!(all(), before);
        let spec = folder.path().join("chain.toml");
        let specification = std::fs::read_to_string(&spec).unwrap();
        std::fs::write(&spec, format!("{specification}\n# the specification is compared by its bytes\n")).unwrap();
        assert!(all().iter().zip(&before).all(|(now, before)| now != before && now.is_ok()));
        std::fs::write(&file, "no = [configuration").unwrap();
        assert!(all().iter().all(Result::is_err));
    }
}
