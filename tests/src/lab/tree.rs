//! The Debian in `.tools/debian` that `make setup-test` made, and programs of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use eyre::{WrapErr as _, ensure};

/// Its root.
///
/// # Errors
/// It is not there; says how to make it.
pub fn debian() -> eyre::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/debian/root");
    let whole = root.join("usr/lib/systemd/systemd").exists() && root.join("usr/bin/systemd-nspawn").exists();
    ensure!(
        whole,
        "there is no Debian with systemd in .tools/debian: run tests/tools/install-debian.sh as root (`make setup-test` does)"
    );
    root.canonicalize().wrap_err("the Debian in .tools/debian")
}

/// A program of the tree that runs on the machine itself, with the tree's own libraries.
pub(super) fn program(name: &str) -> eyre::Result<Command> {
    let root = debian()?;
    let library = |path: &str| root.join(path).display().to_string();
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let linker = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"].map(|path| root.join(path));
    let linker = linker.into_iter().find(|path| path.exists()).unwrap_or_else(|| root.join("lib/ld-linux.so.2"));
    let libraries = [
        library(&format!("lib/{multiarch}")),
        library(&format!("usr/lib/{multiarch}")),
        library(&format!("usr/lib/{multiarch}/systemd")),
    ];
    // What it keeps in /run/systemd stays its own, and goes with it.
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "/bin/sh",
        "-c",
        "mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && exec \"$0\" \"$@\"",
    ]);
    command.arg(linker).arg("--library-path").arg(libraries.join(":")).arg(root.join("usr/bin").join(name));
    Ok(command)
}

/// Runs a program in the tree, with a folder of the machine at `/mnt`.
pub fn chroot(folder: &Path, script: &str) -> eyre::Result<Output> {
    let root = debian()?;
    // A mount namespace of its own: the mount goes with the shell.
    let inside = format!("mount --bind '{}' '{1}/mnt' && exec chroot '{1}' /bin/sh -c \"$0\"", folder.display(), root.display());
    Command::new("unshare").args(["--mount", "/bin/sh", "-c", &inside, script]).stdin(Stdio::null()).output().wrap_err("unshare")
}
