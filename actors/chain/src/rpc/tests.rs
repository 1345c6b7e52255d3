//! Real HTTP against the server, with the mailbox played by the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use alys_proto::{Refused, chain};

use tokio::sync::mpsc;

use super::{Config, serve};

/// Status line and body.
fn post(address: SocketAddr, header: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_are_answered_as_namecoin_answers_them_and_wrong_calls_are_refused() {
    let (asker, mut asked) = mpsc::channel(8);
    let config = Config { listen: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
    let server = serve(&config, asker).await.unwrap().unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.recv().await {
            match message {
                chain::Inbox::CreateAuxBlock(request, reply) if request.fee_recipient == [9; 20] => reply.send(chain::AuxBlock {
                    hash: (0..32).collect(),
                    aux_chain_id: 1_337,
                    end_height: 41,
                    end_hash: vec![0xab; 32],
                    bits: 0x207f_ffff,
                    target: (0..32).collect(),
                }),
                chain::Inbox::CreateAuxBlock(_, reply) => reply.refuse(Refused::Busy("a bundle waits".into())),
                chain::Inbox::SubmitAuxBlock(request, reply) => {
                    assert_eq!(request.hash, (0..32).collect::<Vec<u8>>());
                    let accepted = request.proof == [1, 2];
                    reply.send(chain::ProposalVerdict { accepted, reason: "no work".into() });
                }
                _ => panic!("asked for something else"),
            }
        }
    });
    let reversed: String = (0..32_u8).rev().map(|byte| format!("{byte:02x}")).collect();
    let address = server.address();
    let cases = [
        (call("createauxblock", &format!(r#"["0x{}"]"#, "09".repeat(20))), format!(r#""hash":"{reversed}","chainid":1337,"#)),
        (
            call("createauxblock", &format!(r#"["0x{}"]"#, "09".repeat(20))),
            format!(r#""coinbasevalue":0,"bits":"207fffff","height":42,"_target":"{reversed}""#),
        ),
        (call("createauxblock", &format!(r#"["0x{}"]"#, "08".repeat(20))), r#""code":-10"#.into()),
        (call("createauxblock", r#"["nobody"]"#), r#""code":-32602"#.into()),
        (call("createauxblock", r#"["0x00", 1]"#), r#""code":-32602"#.into()),
        (call("submitauxblock", &format!(r#"["{reversed}","0102"]"#)), r#""result":true"#.into()),
        (call("submitauxblock", &format!(r#"["{reversed}","0103"]"#)), "no work".into()),
        (call("submitauxblock", &format!(r#"["{reversed}","zz"]"#)), r#""code":-32602"#.into()),
        (call("getauxblock", &format!(r#"["{reversed}","0102"]"#)), r#""result":true"#.into()),
        (call("getauxblock", "[]"), "fee_recipient".into()),
        (call("getauxblock", r#"["one"]"#), r#""code":-32602"#.into()),
        (call("stop", "[]"), r#""code":-32601"#.into()),
        (format!("[{}]", call("getauxblock", "[]")), r#""error""#.into()),
        ("no json".into(), r#""code":-32700"#.into()),
    ];
    tokio::task::spawn_blocking(move || {
        for (body, says) in cases {
            let (_, answer) = post(address, "", &body);
            assert!(answer.contains(&says), "{body} is answered with {answer}, not {says}");
        }
        let (status, _) = post(address, "", &" ".repeat(300_000));
        assert!(status.contains("413"), "{status}");
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_password_only_who_has_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth");
    std::fs::write(&file, "miner:secret\n").unwrap();
    let config = Config { listen: Some(([127, 0, 0, 1], 0).into()), auth_file: Some(file.clone()), ..Config::default() };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (asker, _asked) = mpsc::channel(8);
    assert!(serve(&config, asker.clone()).await.is_err(), "others may read it");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = serve(&config, asker).await.unwrap().unwrap();
    let address = server.address();
    tokio::task::spawn_blocking(move || {
        let body = call("stop", "[]");
        for wrong in ["", "authorization: Basic bWluZXI6b3RoZXI=\r\n"] {
            let (status, _) = post(address, wrong, &body);
            assert!(status.contains("401"), "{status}");
        }
        // miner:secret
        let (status, answer) = post(address, "authorization: Basic bWluZXI6c2VjcmV0\r\n", &body);
        assert!(status.contains("200") && answer.contains("-32601"), "{status}: {answer}");
    })
    .await
    .unwrap();
}
