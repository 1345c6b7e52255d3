//! Where other hosts are found.
//!
//! | `cluster.mesh.seeds` entry | is |
//! |---|---|
//! | `10.0.0.7:7000`, `host:7000` | one process; a name is resolved anew for every attempt |
//! | `dns:alys-storage.alys.svc:7000` | every address of the name (a headless service), looked up again all the time |
//! | `file:/run/alys/seeds` | one entry of the first kind a line, read again all the time; `#` begins a comment |

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

/// Addresses that one entry may stand for: a service with more replicas would be a mistake.
const MOST: usize = 256;

/// One configured entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seed {
    Process(String),
    Dns(String),
    File(std::path::PathBuf),
}

impl From<&str> for Seed {
    fn from(text: &str) -> Self {
        match text.split_once(':') {
            Some(("dns", name)) => Self::Dns(name.to_owned()),
            Some(("file", path)) => Self::File(path.into()),
            _ => Self::Process(text.to_owned()),
        }
    }
}

impl Seed {
    /// The addresses to dial now, as text that `connect` takes.
    pub(super) async fn look_up(&self) -> io::Result<BTreeSet<String>> {
        match self {
            Self::Process(address) => Ok(BTreeSet::from([address.clone()])),
            Self::Dns(name) => {
                let found = tokio::net::lookup_host(name.as_str()).await?;
                Ok(found.take(MOST).map(|address: SocketAddr| address.to_string()).collect())
            }
            Self::File(path) => Ok(lines(&tokio::fs::read_to_string(path).await?)),
        }
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    let entries = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    entries.filter(|line| !line.is_empty()).take(MOST).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn each_kind_of_entry_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seeds");
        std::fs::write(&file, "# hosts\n10.0.0.1:7000\n\n host-b:7000 # the second\n").unwrap();
        let from = |text: &str| Seed::from(text);
        let found = from(&format!("file:{}", file.display())).look_up().await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["10.0.0.1:7000", "host-b:7000"]);
        assert_eq!(from("host:1").look_up().await.unwrap().into_iter().collect::<Vec<_>>(), ["host:1"]);
        let local = from("dns:localhost:7").look_up().await.unwrap();
        assert!(local.contains("127.0.0.1:7") || local.contains("[::1]:7"), "{local:?}");
        assert!(from("file:/nowhere").look_up().await.is_err());
    }
}
