//! What a governance node shows on its port, as a collector of metrics reads it.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status and body, if somebody listens.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // HTTP/1.0: the body is not in chunks and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Reads the metrics until all of these have these values, counters at least.
pub async fn shows(address: SocketAddr, wanted: &[(&str, f64)]) {
    let mut text = String::new();
    for _attempt in 0..1_000 {
        text = get(address, "/metrics").await.map(|(_, body)| body).unwrap_or_default();
        let holds = |name: &str, value: f64| match value_of(&text, name) {
            Some(found) if name.ends_with("_total") => found >= value,
            Some(found) => (found - value).abs() < f64::EPSILON,
            None => false,
        };
        if wanted.iter().all(|(name, value)| holds(name, *value)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {wanted:?}, but\n{text}");
}

fn value_of(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit_once(' ')?.1.parse().ok()
}
