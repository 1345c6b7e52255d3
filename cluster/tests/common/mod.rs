//! What the tests of this folder share.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]

pub mod process;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use alys_cluster::ClusterConfig;

/// How long a condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn cluster_config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

/// A folder with a cookie.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], alys_cluster::testing::free_port().unwrap()).into()
}

/// An HTTP client of few words.
pub struct Http(pub SocketAddr);

impl Http {
    /// Status and body, if the server answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Asks until the answer has this status; its body.
    pub fn wait(&self, path: &str, status: u16) -> String {
        self.until(path, |found, _| found == status)
    }

    /// Asks until the answer is as wanted; its body.
    pub fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            match answer {
                Some((status, body)) if wanted(status, &body) => return body,
                answer => assert!(Instant::now() < give_up, "{path} never became as wanted, but {answer:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
