//! The units of `deploy/systemd` as systemd's own tools of Debian 12 see them: understood to the last key, and closed.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

use alys_tests::cluster::temporary_folder;
use alys_tests::lab;
use eyre::ensure;

const SCRIPT: &str = include_str!("../tools/check-units.sh");

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

/// Every unit with the drop-ins of every host: no word from `verify`, an exposure of at most 2.0.
#[test]
fn every_unit_is_understood_and_closed() -> eyre::Result<()> {
    let mut hosts = 0;
    for topology in std::fs::read_dir(units())? {
        let topology = topology?;
        if topology.file_name() == "units" {
            continue;
        }
        for host in std::fs::read_dir(topology.path())? {
            check(&units(), &topology.file_name().to_string_lossy(), &host?.file_name().to_string_lossy())?;
            hosts += 1;
        }
    }
    ensure!(hosts >= 5, "{hosts} hosts are checked");
    Ok(())
}

#[test]
fn an_unknown_key_and_an_open_unit_are_noticed() -> eyre::Result<()> {
    let common = "units/system/alys-.service.d/10-alys.conf";
    let hardened = "CapabilityBoundingSet=\nAmbientCapabilities=\nNoNewPrivileges=yes\n";
    // The first is known to systemd 254 only.
    for (from, to, expected) in
        [("RestartSec=500ms", "RestartSteps=8", "RestartSteps"), (hardened, "PrivateNetwork=no\n", "EXPOSURE")]
    {
        let folder = temporary_folder()?;
        let copied = std::process::Command::new("cp").arg("-r").arg(units().join(".")).arg(folder.path()).status()?;
        ensure!(copied.success(), "cp ended with {copied}");
        let file = folder.path().join(common);
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{from} is not in {common}");
        let text =
            text.replace(from, to).replace("SystemCallFilter", "#").replace("ProtectSystem", "#").replace("PrivateDevices", "#");
        std::fs::write(&file, text)?;
        let said = check(folder.path(), "one-node", "node").err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(said.contains(expected), "{to} is not noticed: {said}");
    }
    Ok(())
}

fn check(units: &Path, topology: &str, host: &str) -> eyre::Result<()> {
    let output = lab::chroot(units, &format!("set -- '{topology}' '{host}'\n{SCRIPT}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && err.is_empty(), "{topology}/{host}: {}\n{out}\n{err}", output.status);
    let (run, judged) = (out.matches("runs alys-").count(), out.matches("Overall exposure level").count());
    let member = out.contains("runs alys-governance.service");
    ensure!(
        (run >= 3 || (member && run == 1)) && judged >= run,
        "{topology}/{host}: {judged} units are judged, {run} are run:\n{out}"
    );
    Ok(())
}
