//! A bitcoind that misbehaves: every case is a reason to wait, with a text that says what to do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::BitcoindConfig;
use crate::core::BlockRef;
use crate::core::fixture::{Miner, transaction_of};
use crate::core::validate::Header;
use crate::io::bitcoind::{Accepted, Bitcoind};
use crate::io::error::BitcoindError;
use crate::io::follower;

/// Serves RPC answers: what `answer` makes of a request is sent as the HTTP response, status line and body.
pub(crate) async fn stub(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            let mut buffer = [0; 4_096];
            while !is_whole(&request) {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.push_str(&String::from_utf8_lossy(&buffer[..read])),
                }
            }
            let (status, body) = answer(&request);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _client_gone = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    url
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(|text| text.trim().parse().unwrap_or(0)));
    body.len() >= length.unwrap_or(0)
}

/// A result, for whatever id the client chose.
fn result(request: &str, value: &str) -> (u16, String) {
    (200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{value},"error":null}}"#, id(request)))
}

fn error(request: &str, code: i32, message: &str) -> (u16, String) {
    (500, format!(r#"{{"jsonrpc":"2.0","id":{},"result":null,"error":{{"code":{code},"message":"{message}"}}}}"#, id(request)))
}

fn id(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").unwrap().1;
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
    parsed["id"].to_string()
}

fn info(chain: &str, downloading: bool, blocks: u32) -> String {
    let hash = BlockHash::all_zeros();
    format!(
        r#"{{"chain":"{chain}","blocks":{blocks},"headers":900000,"bestblockhash":"{hash}","initialblockdownload":{downloading}}}"#
    )
}

fn bitcoind(url: String, network: Network) -> Bitcoind {
    Bitcoind::new(BitcoindConfig { url, timeout: Duration::from_millis(500), ..BitcoindConfig::default() }, network)
}

async fn tip_error(network: Network, answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> BitcoindError {
    bitcoind(stub(answer).await, network).tip().await.unwrap_err()
}

#[tokio::test]
async fn bitcoind_on_another_network_says_which() {
    let wrong = tip_error(Network::Regtest, |request| result(request, &info("main", false, 5))).await;
    assert!(matches!(wrong, BitcoindError::WrongNetwork { .. }));
    assert!(wrong.to_string().contains("`main`") && wrong.to_string().contains("regtest"), "{wrong}");
}

#[tokio::test]
async fn bitcoind_in_initial_download_is_waited_for() {
    let downloading = tip_error(Network::Bitcoin, |request| result(request, &info("main", true, 5))).await;
    assert!(matches!(downloading, BitcoindError::InitialDownload { blocks: 5, headers: 900_000 }));
    let url = stub(|request| result(request, &info("regtest", true, 5))).await;
    assert_eq!(bitcoind(url, Network::Regtest).tip().await.unwrap().height, 5, "regtest always looks like that");
}

#[tokio::test]
async fn bitcoind_down_slow_or_talking_nonsense_is_never_a_panic() {
    let away = bitcoind("http://127.0.0.1:1".into(), Network::Regtest).tip().await.unwrap_err();
    assert!(matches!(away, BitcoindError::Away { .. }), "{away}");
    let forbidden = tip_error(Network::Regtest, |_| (401, String::new())).await;
    assert!(matches!(forbidden, BitcoindError::Forbidden(_)), "{forbidden}");
    let overloaded = tip_error(Network::Regtest, |_| (503, "Work queue depth exceeded".into())).await;
    assert!(matches!(overloaded, BitcoindError::Away { .. }), "{overloaded}");
    let nonsense = tip_error(Network::Regtest, |request| result(request, "[1, 2]")).await;
    assert!(matches!(nonsense, BitcoindError::Nonsense { .. }), "{nonsense}");
    let warming_up = tip_error(Network::Regtest, |request| error(request, -28, "Loading block index")).await;
    assert!(warming_up.to_string().contains("Loading block index"), "{warming_up}");
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let slow = bitcoind(format!("http://{}", silent.local_addr().unwrap()), Network::Regtest).tip().await.unwrap_err();
    assert!(matches!(slow, BitcoindError::Slow(_)), "{slow}");
}

#[tokio::test]
async fn a_cookie_that_is_not_there_yet_is_waited_for() {
    let path = std::env::temp_dir().join(format!("alys-no-such-cookie-{}", std::process::id()));
    let config = BitcoindConfig { cookie_file: Some(path.clone()), ..BitcoindConfig::default() };
    let missing = Bitcoind::new(config, Network::Regtest).tip().await.unwrap_err();
    assert!(missing.chain().contains(path.to_str().unwrap()), "{}", missing.chain());
}

#[tokio::test]
async fn a_node_that_is_behind_us_undoes_nothing() {
    let url = stub(|request| match request {
        _ if request.contains("getblockchaininfo") => result(request, &info("regtest", false, 3)),
        _ => error(request, -5, "Block not found"),
    })
    .await;
    let ours = BlockRef { hash: Miner::new().mine(vec![]).block_hash(), height: 10 };
    let behind = follower::read(&bitcoind(url, Network::Regtest), &[ours], 0, 4).await.unwrap_err();
    assert!(matches!(behind, BitcoindError::Behind { blocks: 3, .. }), "{behind}");
}

#[tokio::test]
async fn headers_tell_best_stale_and_unknown_apart() {
    let header = |confirmations: i32| format!(r#"{{"confirmations":{confirmations},"height":7,"nTx":2}}"#);
    for (answer, expected) in [(header(1), Header::Best { height: 7, transactions: 2 }), (header(-1), Header::Stale)] {
        let url = stub(move |request| result(request, &answer)).await;
        assert_eq!(bitcoind(url, Network::Regtest).header(&BlockHash::all_zeros()).await.unwrap(), expected);
    }
    let url = stub(|request| error(request, -5, "Block not found")).await;
    assert_eq!(bitcoind(url, Network::Regtest).header(&BlockHash::all_zeros()).await.unwrap(), Header::Unknown);
}

#[tokio::test]
async fn a_block_with_two_different_answers_counts_as_unknown() {
    let asked = std::sync::atomic::AtomicI32::new(0);
    let url = stub(move |request| {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        result(
            request,
            if first { r#"{"confirmations":1,"height":7,"nTx":2}"# } else { r#"{"confirmations":-1,"height":7,"nTx":2}"# },
        )
    })
    .await;
    let view = BlockHash::all_zeros();
    let headers = bitcoind(url, Network::Regtest).headers(&[view, view]).await.unwrap();
    assert_eq!(headers[&view], Header::Unknown);
}

#[tokio::test]
async fn fee_estimates_are_read_without_floats() {
    let url = stub(|request| result(request, r#"{"feerate":0.00012345,"blocks":6}"#)).await;
    assert_eq!(bitcoind(url, Network::Regtest).fee_rate(6).await.unwrap(), Some(12_345));
    let url = stub(|request| result(request, r#"{"errors":["Insufficient data"],"blocks":0}"#)).await;
    assert_eq!(bitcoind(url, Network::Regtest).fee_rate(6).await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_sent_that_testmempoolaccept_refuses() {
    let transaction = transaction_of(vec![], vec![]);
    let cases = [
        (r#"[{"allowed":false,"reject-reason":"min relay fee not met"}]"#, Accepted::No("min relay fee not met".into())),
        (r#"[{"allowed":false,"reject-reason":"txn-already-known"}]"#, Accepted::Yes),
    ];
    for (answer, expected) in cases {
        let url = stub(move |request| {
            assert!(!request.contains("sendrawtransaction"));
            result(request, answer)
        })
        .await;
        assert_eq!(bitcoind(url, Network::Regtest).broadcast(&transaction).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_payout_that_is_in_the_chain_meanwhile_is_no_failure() {
    let transaction = transaction_of(vec![], vec![]);
    for (code, expected) in [(-27, Accepted::Yes), (-26, Accepted::No("refused".into()))] {
        let url = stub(move |request| match request {
            _ if request.contains("testmempoolaccept") => result(request, r#"[{"allowed":true}]"#),
            _ => error(request, code, "refused"),
        })
        .await;
        assert_eq!(bitcoind(url, Network::Regtest).broadcast(&transaction).await.unwrap(), expected);
    }
}
