//! The role with real gRPC over TLS on a loopback port: fake members with real certificates, probes in place of the other roles.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_cluster::ActorError;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::common::{CommittedBlock, OutPoint, PegInProof};
use alys_proto::governance::governance_client::GovernanceClient;
use alys_proto::governance::{Approval, FromMember, Register, ToMember, from_member, to_member};
use alys_proto::storage::{Blocks, GetBlocks, GetHead, Head, PayoutRecorded};
use alys_proto::stream::{BitcoinTransactionDetected, GetMembers, RequestFederationSignatures};
use alys_proto::{bridge, chain, storage};
use alys_stream::{Config, Peers, StreamActor, TlsFiles};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Streaming};

const NAMES: [&str; 3] = ["ada", "bob", "cyd"];
const PATIENCE: Duration = Duration::from_secs(10);

fn spec() -> ChainSpec {
    let member = |name: &str| FederationMember { name: name.to_owned(), public_key: B256::from(key(name)) };
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 0,
        slot_millis: 2_000,
        validators: vec![B256::repeat_byte(1)],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec { threshold: 2, members: NAMES.map(member).to_vec() },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

fn key(name: &str) -> [u8; 32] {
    [name.as_bytes()[0]; 32]
}

/// A certificate authority and a folder for what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: rcgen::Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, common_name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn config(&self, listen: SocketAddr) -> Config {
        let (cert, key) = self.issue("stream");
        std::fs::write(self.file("stream.pem"), cert).unwrap();
        std::fs::write(self.file("stream.key"), key).unwrap();
        std::fs::set_permissions(self.file("stream.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let tls = TlsFiles { ca: self.file("ca.pem"), cert: self.file("stream.pem"), key: self.file("stream.key") };
        Config { listen, tls, ..Config::default() }
    }

    async fn client(
        &self,
        address: SocketAddr,
        common_name: Option<&str>,
    ) -> Result<GovernanceClient<tonic::transport::Channel>, tonic::transport::Error> {
        let ca = std::fs::read(self.file("ca.pem")).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some(name) = common_name {
            let (cert, key) = self.issue(name);
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        Ok(GovernanceClient::new(endpoint.connect().await?))
    }
}

/// The role and the probes around it.
struct Role {
    started: Started<StreamActor>,
    address: SocketAddr,
    storage: Probe<storage::Inbox>,
    chain: Probe<chain::Inbox>,
    bridge: Probe<bridge::Inbox>,
}

impl Role {
    async fn start(config: Config) -> Self {
        let (storage, storage_probe) = probe();
        let (chain, chain_probe) = probe();
        let (bridge, bridge_probe) = probe();
        let actor = StreamActor::new(config, Arc::new(spec()), Peers { storage, chain, bridge }).unwrap();
        let started = start(actor);
        let address =
            until(|| started.status().into_iter().find(|(name, _)| *name == "listen").and_then(|(_, value)| value.parse().ok()))
                .await;
        Self { started, address, storage: storage_probe, chain: chain_probe, bridge: bridge_probe }
    }

    async fn detect(&self, id: u8) {
        self.started.remote.tell(BitcoinTransactionDetected { deposit: Some(deposit(id)) }).unwrap();
        // Told, so not waited for; a question behind it has been answered only when it was handled.
        self.started.remote.ask(GetMembers {}).await.unwrap();
    }
}

async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it happens in time")
}

fn deposit(id: u8) -> PegInProof {
    PegInProof { outpoint: Some(outpoint(id)), value_sats: 100_000, recipient: vec![7; 20], ..PegInProof::default() }
}

fn outpoint(id: u8) -> OutPoint {
    OutPoint { txid: vec![id; 32], vout: 0 }
}

/// A member that does what the test says.
struct Member {
    outbound: mpsc::Sender<FromMember>,
    inbound: Streaming<ToMember>,
}

impl Member {
    async fn connect(
        authority: &Authority,
        address: SocketAddr,
        name: &str,
        incarnation: u64,
        acknowledged: u64,
    ) -> Result<Self, tonic::Status> {
        Self::connect_as(authority, address, name, name, incarnation, acknowledged).await
    }

    async fn connect_as(
        authority: &Authority,
        address: SocketAddr,
        certificate: &str,
        name: &str,
        incarnation: u64,
        acknowledged: u64,
    ) -> Result<Self, tonic::Status> {
        let mut client = authority.client(address, Some(certificate)).await.unwrap();
        let (outbound, messages) = mpsc::channel(64);
        let register = Register {
            member: name.into(),
            public_key: key(name).to_vec(),
            chain_id: 212_121,
            genesis_hash: spec().genesis_hash().to_vec(),
            incarnation,
        };
        let register = FromMember { sequence: 0, acknowledged, payload: Some(from_member::Payload::Register(register)) };
        outbound.send(register).await.unwrap();
        let inbound = client.session(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Self { outbound, inbound })
    }

    async fn next(&mut self) -> Result<ToMember, tonic::Status> {
        let message = tokio::time::timeout(PATIENCE, self.inbound.message()).await.expect("a message in time");
        message.map(|message| message.expect("the session goes on"))
    }

    async fn registered(&mut self) -> u64 {
        match self.next().await.unwrap().payload {
            Some(to_member::Payload::Registered(registered)) => registered.resume_after,
            other => panic!("{other:?}"),
        }
    }

    /// The next numbered message.
    async fn asked(&mut self) -> ToMember {
        loop {
            let message = self.next().await.unwrap();
            if message.sequence > 0 {
                return message;
            }
        }
    }

    async fn approve(&self, sequence: u64, acknowledged: u64, id: u8) {
        let payload = Some(from_member::Payload::Approval(Approval { outpoint: Some(outpoint(id)) }));
        self.outbound.send(FromMember { sequence, acknowledged, payload }).await.unwrap();
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_quorum_over_tls_reaches_chain_and_survives_a_restart_of_the_role() {
    let authority = Authority::new();
    let mut role = Role::start(authority.config(any_port())).await;
    let address = role.address;
    let mut ada = Member::connect(&authority, address, "ada", 1, 0).await.unwrap();
    assert_eq!(ada.registered().await, 0);
    role.detect(1).await;
    let request = ada.asked().await;
    assert!(matches!(request.payload, Some(to_member::Payload::ApprovalRequest(_))));
    ada.approve(1, request.sequence, 1).await;
    let mut bob = Member::connect(&authority, address, "bob", 1, 0).await.unwrap();
    bob.registered().await;
    bob.asked().await;

    // Killed between the first approval and the second: on the same port, with nothing remembered.
    role.started.stop().await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, bob.inbound.message()).await.is_ok(), "the old stream ends");
    role = Role::start(authority.config(address)).await;
    let mut ada = Member::connect(&authority, address, "ada", 1, 1).await.unwrap();
    let mut bob = Member::connect(&authority, address, "bob", 1, 1).await.unwrap();
    assert_eq!((ada.registered().await, bob.registered().await), (0, 0));
    role.detect(1).await;
    for member in [&mut ada, &mut bob] {
        let request = member.asked().await;
        assert_eq!(request.sequence, 1);
        member.approve(1, 1, 1).await;
    }
    let chain::Inbox::PegInValidationRequest(request, reply) = role.chain.next().await else { panic!("another message") };
    assert_eq!(request.approved_by, ["ada", "bob"]);
    reply.send(chain::PegInVerdict { accepted: true, reason: String::new() });
    role.started.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_connection_resumes_where_it_was() {
    let authority = Authority::new();
    let mut role = Role::start(authority.config(any_port())).await;
    let mut ada = Member::connect(&authority, role.address, "ada", 1, 0).await.unwrap();
    ada.registered().await;
    for id in 1..=3 {
        role.detect(id).await;
    }
    assert_eq!(ada.asked().await.sequence, 1);
    ada.approve(1, 1, 1).await;
    // The approval is acted on before the drop is noticed; the third request never reached it.
    until(|| role.started.status().iter().any(|(name, value)| *name == "members" && value == "1/3").then_some(())).await;
    assert_eq!(ada.asked().await.sequence, 2);
    drop(ada);
    let mut ada = Member::connect(&authority, role.address, "ada", 1, 2).await.unwrap();
    let resume_after = ada.registered().await;
    assert!(resume_after <= 1);
    assert_eq!(ada.asked().await.sequence, 3, "neither lost nor repeated");
    let next = resume_after + 1;
    for (sequence, id) in (next..).zip([1, 2, 3].into_iter().skip(usize::try_from(resume_after).unwrap())) {
        ada.approve(sequence, 3, id).await;
    }
    let mut bob = Member::connect(&authority, role.address, "bob", 1, 0).await.unwrap();
    bob.registered().await;
    for id in 1..=3 {
        bob.asked().await;
        bob.approve(id.into(), id.into(), id).await;
    }
    for _ in 1..=3 {
        let chain::Inbox::PegInValidationRequest(request, reply) = role.chain.next().await else { panic!("another message") };
        assert_eq!(request.approved_by.len(), 2);
        reply.send(chain::PegInVerdict { accepted: true, reason: String::new() });
    }
    assert!(role.chain.try_next().is_none(), "each deposit once");
}

#[tokio::test]
async fn only_members_with_their_own_certificate_and_key_get_in() {
    let authority = Authority::new();
    let role = Role::start(authority.config(any_port())).await;
    let stranger = Member::connect(&authority, role.address, "eve", 1, 0).await.err().unwrap();
    assert_eq!(stranger.code(), Code::PermissionDenied);
    let mut pretender = Member::connect_as(&authority, role.address, "ada", "bob", 1, 0).await.unwrap();
    assert_eq!(pretender.next().await.unwrap_err().code(), Code::PermissionDenied);

    let mut without = authority.client(role.address, None).await;
    let refused = match &mut without {
        Ok(client) => client.get_head(GetHead {}).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "no certificate");
    let other = Authority::new();
    std::fs::copy(authority.file("ca.pem"), other.file("ca.pem")).unwrap();
    let refused = match &mut other.client(role.address, Some("ada")).await {
        Ok(client) => client.get_head(GetHead {}).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "certificate of another authority");
    assert!(role.started.remote.ask(GetMembers {}).await.unwrap().members.iter().all(|member| !member.connected));
}

#[tokio::test]
async fn blocks_come_from_storage_and_signature_requests_reach_bridge() {
    let authority = Authority::new();
    let mut role = Role::start(authority.config(any_port())).await;
    let mut client = authority.client(role.address, Some("ada")).await.unwrap();
    let asking = tokio::spawn(async move { client.get_blocks(GetBlocks { from_height: 3, limit: 100_000 }).await });
    let storage::Inbox::GetBlocks(question, reply) = role.storage.next().await else { panic!("another message") };
    assert_eq!((question.from_height, question.limit), (3, 256));
    reply.send(Blocks { blocks: vec![CommittedBlock { height: 3, ..CommittedBlock::default() }] });
    assert_eq!(asking.await.unwrap().unwrap().into_inner().blocks[0].height, 3);
    let mut client = authority.client(role.address, Some("ada")).await.unwrap();
    let asking = tokio::spawn(async move { client.get_head(GetHead {}).await });
    let storage::Inbox::GetHead(_, reply) = role.storage.next().await else { panic!("another message") };
    reply.send(Head { height: 9, hash: vec![9; 32] });
    assert_eq!(asking.await.unwrap().unwrap().into_inner().height, 9);

    let mut ada = Member::connect(&authority, role.address, "ada", 1, 0).await.unwrap();
    ada.registered().await;
    let payout = PayoutRecorded { txid: vec![5; 32], ..PayoutRecorded::default() };
    role.started.remote.tell(RequestFederationSignatures { payout: Some(payout), height: 3, psbt: vec![1] }).unwrap();
    assert!(matches!(ada.asked().await.payload, Some(to_member::Payload::SignatureRequest(_))));
    let signature = bridge::InputSignature { input: 0, public_key: key("ada").to_vec(), signature: vec![1; 64] };
    let signatures = alys_proto::governance::Signatures { payout_txid: vec![5; 32], signatures: vec![signature] };
    let payload = Some(from_member::Payload::Signatures(signatures));
    ada.outbound.send(FromMember { sequence: 1, acknowledged: 1, payload }).await.unwrap();
    let bridge::Inbox::FederationSignatures(given, reply) = role.bridge.next().await else { panic!("another message") };
    assert_eq!(given.member, "ada");
    reply.send(bridge::SignatureVerdict { accepted: true, complete: false, reason: String::new() });
    let payload = Some(from_member::Payload::FederationUpdate(vec![4, 2]));
    ada.outbound.send(FromMember { sequence: 2, acknowledged: 1, payload }).await.unwrap();
    let bridge::Inbox::FederationConfigUpdate(update, reply) = role.bridge.next().await else { panic!("another message") };
    assert_eq!(update.record, [4, 2]);
    reply.send(alys_proto::common::Done {});
}

#[tokio::test]
async fn what_cannot_work_is_a_configuration_error_that_says_so() {
    async fn fails(config: Config) -> String {
        let actor = StreamActor::new(config, Arc::new(spec()), Peers { storage: probe().0, chain: probe().0, bridge: probe().0 })
            .unwrap();
        match start(actor).finished().await.err() {
            Some(ActorError::Configuration(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
    let authority = Authority::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(fails(authority.config(taken.local_addr().unwrap())).await.contains("port taken"));

    let missing = Config {
        tls: TlsFiles { key: Path::new("/nowhere/stream.key").into(), ..authority.config(any_port()).tls },
        ..authority.config(any_port())
    };
    assert!(fails(missing).await.contains("/nowhere/stream.key"));
    let swapped = authority.config(any_port());
    let (_, other_key) = authority.issue("stream");
    std::fs::write(authority.file("stream.key"), other_key).unwrap();
    assert!(fails(swapped).await.contains("cannot be used together"));
    let empty = authority.config(any_port());
    std::fs::write(authority.file("stream.pem"), "nothing").unwrap();
    assert!(fails(empty).await.contains("no certificate in"));
}
