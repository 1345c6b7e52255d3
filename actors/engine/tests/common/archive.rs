//! Archives of public test vectors.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacks an archive of `$ALYS_VECTORS`, by default `../shared/vectors` beside the checkout. `None`, and why on the output:
/// there is no such folder.
pub(crate) fn unpack(archive: &str) -> Option<tempfile::TempDir> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let vectors = std::env::var_os("ALYS_VECTORS").map_or_else(default, PathBuf::from);
    if !vectors.is_dir() {
        println!("skipped: {} does not exist; set ALYS_VECTORS to the folder of the public test vectors", vectors.display());
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("xzf").arg(vectors.join(archive)).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    Some(folder)
}
