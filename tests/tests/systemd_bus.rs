//! What the supervisor tells systemd, over the D-Bus of a host with a real systemd, and what comes back when it may not.
#![allow(missing_docs)]

use std::path::Path;
use std::time::Duration;

use alys_proto::Role;
use alys_supervisor::core::platform::Action;
use alys_supervisor::io::systemd::{Fault, tell_on};
use alys_tests::cluster::wait;
use alys_tests::lab::{self, Container};
use eyre::ensure;
use zbus::connection::Builder;

const PATIENCE: Duration = Duration::from_secs(30);
const UNIT: &str = "alys-network.service";

fn bus(host: &Container) -> eyre::Result<Builder<'static>> {
    let socket = host.inside("/run/dbus/system_bus_socket")?;
    Ok(Builder::address(format!("unix:path={}", socket.display()).as_str()))
}

/// A unit with the name of a role, which does nothing.
fn install(root: &Path) -> eyre::Result<()> {
    let folder = root.join("etc/systemd/system");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(UNIT), "[Service]\nExecStart=/bin/sleep infinity\n")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_does_over_the_bus_what_the_supervisor_says() -> eyre::Result<()> {
    let Some(lab) = lab::enter("systemd_does_over_the_bus_what_the_supervisor_says", &["a"]).await? else { return Ok(()) };
    // Where a host of the lab finds programs: it needs none.
    std::fs::create_dir_all(lab.folder().join("opt"))?;
    let host = lab.boot("a", install)?;
    wait("the bus", PATIENCE, async || Ok(bus(&host)?.build().await.is_ok().then_some(()))).await?;
    let tell = async |action, role| eyre::Ok(tell_on(bus(&host)?, action, role, Role::name(role)).await);
    let state = |wanted: &'static str| {
        let host = &host;
        async move {
            let is = async || Ok((host.property(UNIT, "ActiveState")? == wanted).then_some(()));
            wait(&format!("{UNIT} to be {wanted}"), PATIENCE, is).await?;
            host.property(UNIT, "MainPID")
        }
    };

    tell(Action::Start, Role::Network).await??;
    let first = state("active").await?;
    tell(Action::Restart, Role::Network).await??;
    wait("another process", PATIENCE, async || {
        let now = host.property(UNIT, "MainPID")?;
        Ok((now != first && now != "0").then_some(()))
    })
    .await?;
    state("active").await?;
    tell(Action::Stop, Role::Network).await??;
    ensure!(state("inactive").await? == "0", "it runs and is stopped");

    let missing = tell(Action::Restart, Role::Chain).await?;
    ensure!(missing == Err(Fault::NoUnit { unit: "alys-chain.service".into() }), "{missing:?}");
    host.succeed(&["systemctl", "mask", "--runtime", "alys-bridge.service"])?;
    let masked = tell(Action::Restart, Role::Bridge).await?;
    ensure!(matches!(&masked, Err(Fault::Refused { said, .. }) if said.contains("masked")), "{masked:?}");
    let nowhere = Builder::address("unix:path=/nowhere/bus");
    let nowhere = tell_on(nowhere, Action::Restart, Role::Network, "network").await;
    ensure!(matches!(nowhere, Err(Fault::NoBus(_))), "{nowhere:?}");
    another_user_may_not(&host)
}

/// By the name of the error, which is what [`Fault::Forbidden`] is made of.
fn another_user_may_not(host: &Container) -> eyre::Result<()> {
    let manager = "org.freedesktop.systemd1.Manager.RestartUnit";
    let command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "dbus-send", "--system", "--print-reply"];
    let asked = [
        "--dest=org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        manager,
        "string:alys-network.service",
        "string:replace",
    ];
    let output = host.output(&[&command[..], &asked[..]].concat())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let names = ["org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"];
    ensure!(!output.status.success() && names.iter().any(|name| said.contains(name)), "{said}");
    Ok(())
}
