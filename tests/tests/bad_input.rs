//! Everything an operator can get wrong before the first block: `alys up` ends with the documented exit code and one
//! message that names the thing and what to do; nothing panics and nothing is left running.
#![allow(missing_docs)]

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use alys::prepare::{DevChain, dev};
use alys_tests::cluster::{Alys, Options, temporary_folder, wait};
use alys_tests::processes;
use eyre::{WrapErr as _, ensure};

/// Long on a loaded machine: a start that fails takes a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing listens there.
const NO_BITCOIND: &str = "bridge.bitcoind.url=http://127.0.0.1:1";
const CONFIGURATION: i32 = 78;

/// One thing that is wrong.
struct Case {
    name: &'static str,
    wrong: fn(&Path) -> eyre::Result<()>,
    /// Each must be in the message.
    words: &'static [&'static str],
}

const fn case(name: &'static str, wrong: fn(&Path) -> eyre::Result<()>, words: &'static [&'static str]) -> Case {
    Case { name, wrong, words }
}

fn prepared() -> eyre::Result<tempfile::TempDir> {
    let folder = temporary_folder()?;
    let chain = DevChain { slot_millis: 1_000, confirmations: 3, ..DevChain::default() };
    dev(folder.path(), &chain).map_err(|failure| eyre::eyre!("{failure}"))?;
    Ok(folder)
}

/// `alys up` on what is there.
fn up(data_dir: &Path, set: &[String]) -> eyre::Result<Alys> {
    let mut all = vec![NO_BITCOIND.to_owned()];
    all.extend_from_slice(set);
    Alys::start_alone(Options { dev: false, data_dir: Some(data_dir.to_owned()), set: all, ..Options::default() })
}

/// It ends by itself with the code, says the words, and leaves nothing.
fn refused(name: &str, data_dir: &Path, set: &[String], code: i32, words: &[&str]) -> eyre::Result<()> {
    let mut alys = up(data_dir, set)?;
    let ended = alys.wait_end(PATIENCE).wrap_err_with(|| name.to_owned())?;
    let said = alys.said();
    ensure!(ended == Some(code), "{name}: exit {ended:?}, not {code}: {said}");
    for word in words {
        ensure!(said.contains(word), "{name}: `{word}` is not in: {said}");
    }
    ensure!(processes::of(data_dir)?.is_empty(), "{name}: a process is left");
    alys.ensure_no_panic().wrap_err_with(|| name.to_owned())
}

fn refused_all(cases: &[Case]) -> eyre::Result<()> {
    for case in cases {
        let folder = prepared()?;
        (case.wrong)(folder.path()).wrap_err(case.name)?;
        refused(case.name, folder.path(), &[], CONFIGURATION, case.words)?;
    }
    Ok(())
}

fn replace(file: &Path, from: &str, to: &str) -> eyre::Result<()> {
    let text = std::fs::read_to_string(file)?;
    ensure!(text.contains(from), "{from} is not in {}", file.display());
    Ok(std::fs::write(file, text.replace(from, to))?)
}

fn open_to_all(file: &Path) -> eyre::Result<()> {
    Ok(std::fs::set_permissions(file, Permissions::from_mode(0o644))?)
}

fn remove(file: &Path) -> eyre::Result<()> {
    Ok(std::fs::remove_file(file)?)
}

#[test]
fn a_wrong_configuration_names_the_line_and_the_setting() -> eyre::Result<()> {
    refused_all(&[
        case("no configuration", |dir| remove(&dir.join("alys.toml")), &["alys.toml", "alys up --dev"]),
        case(
            "unknown section",
            |dir| replace(&dir.join("alys.toml"), "[local]", "[locale]"),
            &["alys.toml", "line 10", "locale"],
        ),
        case(
            "unknown key",
            |dir| replace(&dir.join("alys.toml"), "governance =", "goverment ="),
            &["alys.toml", "goverment", "governance"],
        ),
        case(
            "wrong type",
            |dir| replace(&dir.join("alys.toml"), "governance = 3", "governance = 'three'"),
            &["alys.toml", "three", "u32"],
        ),
        case("not TOML", |dir| Ok(std::fs::write(dir.join("alys.toml"), [0xff, 0xfe, 0])?), &["alys.toml"]),
        case("no specification", |dir| remove(&dir.join("chain.toml")), &["chain.toml", "chain_spec_file", "alys up --dev"]),
        case(
            "unknown key in the specification",
            |dir| replace(&dir.join("chain.toml"), "threshold", "treshold"),
            &["chain.toml", "treshold"],
        ),
        case(
            "a rule of the specification",
            |dir| replace(&dir.join("chain.toml"), "threshold = 2", "threshold = 9"),
            &["chain.toml", "federation.threshold"],
        ),
    ])?;
    let folder = prepared()?;
    let wrong = |set: &str, words: &[&str]| refused(set, folder.path(), &[set.to_owned()], CONFIGURATION, words);
    wrong("engine.rpc.listen=here", &["--set", "engine.rpc.listen", "here"])?;
    wrong("storage.cach_size=1", &["--set", "cach_size", "cache_size"])?;
    wrong("stream.listen=127.0.0.1:99999", &["--set", "stream.listen"])?;
    wrong("bridge.bitcoind.url=nowhere", &["bitcoind.url", "http://"])
}

#[test]
fn a_missing_or_open_key_is_named_with_its_remedy() -> eyre::Result<()> {
    refused_all(&[
        case("no validator key", |dir| remove(&dir.join("keys/validator.key")), &["validator.key", "chain.validator_key"]),
        case("no federation key", |dir| remove(&dir.join("keys/governance-2.key")), &["governance-2.key", "backup"]),
        case("no cookie", |dir| remove(&dir.join("cookie")), &["cookie", "alys up --dev"]),
        case("no TLS key", |dir| remove(&dir.join("tls/stream.key")), &["stream.key", "stream.tls.key"]),
        case("open validator key", |dir| open_to_all(&dir.join("keys/validator.key")), &["644", "chmod 600", "validator.key"]),
        case(
            "open federation key",
            |dir| open_to_all(&dir.join("keys/governance-3.key")),
            &["644", "chmod 600", "governance-3.key"],
        ),
        case(
            "open member's TLS key",
            |dir| open_to_all(&dir.join("tls/governance-1.key")),
            &["644", "chmod 600", "governance-1.key"],
        ),
        case("open TLS key", |dir| open_to_all(&dir.join("tls/stream.key")), &["644", "chmod 600", "stream.key"]),
        case("open cookie", |dir| open_to_all(&dir.join("cookie")), &["644", "chmod 600", "cookie"]),
        case("open network identity", |dir| open_to_all(&dir.join("network/p2p.key")), &["chmod 600", "p2p.key"]),
        case("no key at all", |dir| Ok(std::fs::write(dir.join("keys/validator.key"), "secret")?), &["validator.key", "hex"]),
        case("another validator", |dir| Ok(std::fs::write(dir.join("keys/validator.key"), "11".repeat(32))?), &["validator"]),
        case("another member", |dir| Ok(std::fs::write(dir.join("keys/governance-1.key"), "11".repeat(32))?), &["governance-1"]),
        case("no certificate", |dir| Ok(std::fs::write(dir.join("tls/stream.pem"), "nonsense")?), &["stream.pem", "stream.tls"]),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_setting() -> eyre::Result<()> {
    let folder = prepared()?;
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port();
    let cases = [
        ("engine.rpc.listen", format!("engine.rpc.listen=127.0.0.1:{port}")),
        ("stream.listen", format!("stream.listen=127.0.0.1:{port}")),
        ("network.listen", format!("network.listen=[\"/ip4/127.0.0.1/tcp/{port}\"]")),
    ];
    for (setting, set) in cases {
        refused(setting, folder.path(), &[set], CONFIGURATION, &[setting, &port.to_string(), "in use"])?;
    }
    drop(taken);
    let mut free = up(folder.path(), &[])?;
    wait("a start on free ports", PATIENCE, async || Ok(free.said().contains("all processes are ready").then_some(()))).await?;
    ensure!(free.stop()? == Some(0), "{}", free.log_tail());
    Ok(())
}
