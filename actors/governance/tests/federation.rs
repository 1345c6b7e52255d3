//! Three governance nodes, each with its own key, database and bitcoind, around a real stream role over TLS.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs)]

#[path = "support/bitcoind.rs"]
mod bitcoind;
#[path = "support/page.rs"]
mod page;
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_cluster::ActorError;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_governance::{BitcoinConfig, Config, GovernanceError, Password, TlsConfig};
use alys_peg::Session;
use alys_proto::common::{CommittedBlock, PegInProof as PegInMessage};
use alys_proto::storage::{Blocks, Head, PayoutRecorded};
use alys_proto::stream::{BitcoinTransactionDetected, GetMembers, RequestFederationSignatures};
use alys_proto::{bridge, chain, storage};
use alys_stream::{Peers, StreamActor, TlsFiles};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use bitcoind::Bitcoind;
use support::{BTC, NAMES, Statement, World, secret};

const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that lives as long as the test.
struct Federation {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    world: World,
    /// What the storage probe serves.
    blocks: Arc<Mutex<Vec<CommittedBlock>>>,
    bitcoinds: Vec<Bitcoind>,
    /// Where the members answer metrics and probes.
    shown: Vec<SocketAddr>,
}

struct Role {
    started: Started<StreamActor>,
    address: SocketAddr,
    chain: Probe<chain::Inbox>,
    bridge: Probe<bridge::Inbox>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), GovernanceError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn write_private(file: &std::path::Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

impl Federation {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let world = World::new();
        let mut bitcoinds = Vec::new();
        for _ in NAMES {
            bitcoinds.push(Bitcoind::start(world.bitcoin.clone()).await);
        }
        let shown = NAMES.map(|_| ([127, 0, 0, 1], alys_cluster::testing::free_port().unwrap()).into()).into();
        let issuer = rcgen::Issuer::new(params, key);
        let federation = Self { folder, issuer, world, blocks: Arc::default(), bitcoinds, shown };
        for (number, name) in NAMES.iter().enumerate() {
            federation.issue(name);
            let file = federation.file(&format!("{name}.secret"));
            write_private(&file, &secret(number).display_secret().to_string());
        }
        federation.issue("stream");
        federation
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, common_name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        std::fs::write(self.file(&format!("{common_name}.pem")), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        write_private(&self.file(&format!("{common_name}.key")), &key.serialize_pem());
    }

    /// What both chains have become is what everybody sees.
    fn publish(&self) {
        self.blocks.lock().unwrap().clone_from(&self.world.blocks);
        for bitcoind in &self.bitcoinds {
            bitcoind.chain.lock().unwrap().clone_from(&self.world.bitcoin);
        }
    }

    /// Starts the role until it runs, as the supervisor does: for a moment the port may belong to somebody else, be it a
    /// member's own connection to the port where nobody listens.
    async fn stream(&self, listen: &str) -> Role {
        let give_up = std::time::Instant::now() + PATIENCE;
        loop {
            match self.try_stream(listen).await {
                Ok(role) => return role,
                Err(ended) => assert!(std::time::Instant::now() < give_up, "{ended}"),
            }
        }
    }

    async fn try_stream(&self, listen: &str) -> Result<Role, ActorError> {
        let (storage, storage_probe) = probe();
        let (chain, chain_probe) = probe();
        let (bridge, bridge_probe) = probe();
        tokio::spawn(serve_blocks(self.blocks.clone(), storage_probe));
        let tls = TlsFiles { ca: self.file("ca.pem"), cert: self.file("stream.pem"), key: self.file("stream.key") };
        let config = alys_stream::Config {
            listen: listen.parse().unwrap(),
            tls,
            retry: Duration::from_millis(100),
            ..alys_stream::Config::default()
        };
        let started =
            start(StreamActor::new(config, Arc::new(self.world.spec.clone()), Peers { storage, chain, bridge }).unwrap());
        let listening =
            || started.status().into_iter().find(|(name, _)| *name == "listen").and_then(|(_, value)| value.parse().ok());
        let started_or_ended = until(|| listening().map(Some).or_else(|| started.has_ended().then_some(None))).await;
        match started_or_ended {
            Some(address) => Ok(Role { started, address, chain: chain_probe, bridge: bridge_probe }),
            None => Err(started.finished().await.err().expect("it ended before it listened")),
        }
    }

    fn member(&self, number: usize, stream: SocketAddr) -> Running {
        let (stop, stopped) = oneshot::channel();
        let config = self.config(number, stream);
        let spec = self.world.spec.clone();
        let task = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            let ended = Box::pin(alys_governance::run(config, spec, shutdown)).await;
            ended.inspect_err(|cause| eprintln!("a member ended: {cause:?}"))
        });
        Running { stop, task }
    }

    fn config(&self, number: usize, stream: SocketAddr) -> Config {
        let name = NAMES[number];
        Config {
            name: name.into(),
            key_file: self.file(&format!("{name}.secret")),
            stream: format!("https://{stream}"),
            bitcoin: BitcoinConfig {
                url: format!("http://{}", self.bitcoinds[number].address),
                user: Some("alys".into()),
                password: Some(Password("secret".into())),
                ..BitcoinConfig::default()
            },
            listen: Some(self.shown[number]),
            tls: TlsConfig {
                ca: self.file("ca.pem"),
                cert: self.file(&format!("{name}.pem")),
                key: self.file(&format!("{name}.key")),
                server_name: None,
            },
            data_dir: self.file(&format!("{name}-data")),
            poll: Duration::from_millis(50),
            heartbeat: Duration::from_millis(500),
            ..Config::default()
        }
    }
}

impl Role {
    async fn members_connected(&self, count: usize) {
        let asking = async {
            loop {
                let members = self.started.remote.ask(GetMembers {}).await.unwrap().members;
                if members.iter().filter(|member| member.connected).count() == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("the members connect in time");
    }

    fn detect(&self, proof: &alys_peg::PegInProof) {
        self.started.remote.tell(BitcoinTransactionDetected { deposit: Some(PegInMessage::from(proof)) }).unwrap();
    }

    async fn approved(&mut self) -> Vec<String> {
        let chain::Inbox::PegInValidationRequest(request, reply) = self.chain.next().await else { panic!("another message") };
        reply.send(chain::PegInVerdict { accepted: true, reason: String::new() });
        request.approved_by
    }

    /// Signatures of two members, as bridge would take them. One may send its own again over a new session.
    async fn two_signatures(&mut self) -> Vec<bridge::FederationSignatures> {
        let mut given: Vec<bridge::FederationSignatures> = Vec::new();
        while given.len() < 2 {
            let bridge::Inbox::FederationSignatures(signatures, reply) = self.bridge.next().await else {
                panic!("another message")
            };
            let is_new = given.iter().all(|known| known.member != signatures.member);
            let complete = is_new && given.len() == 1;
            reply.send(bridge::SignatureVerdict { accepted: true, complete, reason: String::new() });
            if is_new {
                given.push(signatures);
            }
        }
        given
    }
}

async fn serve_blocks(blocks: Arc<Mutex<Vec<CommittedBlock>>>, mut storage: Probe<storage::Inbox>) {
    loop {
        let Ok(message) = tokio::time::timeout(PATIENCE, storage.next()).await else { return };
        let blocks = blocks.lock().unwrap().clone();
        match message {
            storage::Inbox::GetBlocks(question, reply) => {
                let wanted = blocks.into_iter().filter(|block| block.height >= question.from_height);
                reply.send(Blocks { blocks: wanted.take(question.limit.try_into().unwrap()).collect() });
            }
            storage::Inbox::GetHead(_, reply) => {
                let head = blocks.last().cloned().unwrap_or_default();
                reply.send(Head { height: head.height, hash: head.hash });
            }
            _ => {}
        }
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

/// The signatures finish the transaction.
fn finishes(world: &World, request: &RequestFederationSignatures, given: &[bridge::FederationSignatures]) -> bool {
    let recorded = alys_peg::PayoutRecorded::try_from(request.payout.as_ref().unwrap()).unwrap();
    let mut session = Session::of(&world.ledger, &recorded.txid()).unwrap();
    for signature in given.iter().flat_map(|member| &member.signatures) {
        session.add(&signature.try_into().unwrap()).unwrap();
    }
    session.finish().is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_is_approved_and_a_payout_signed_also_when_the_stream_dies_in_between() {
    let mut federation = Federation::new().await;
    let proof = federation.world.deposit(BTC, 21);
    federation.publish();
    // Any start order: the members come first and find nobody.
    let address = ([127, 0, 0, 1], alys_cluster::testing::free_port().unwrap()).into();
    let members = [0, 1, 2].map(|number| federation.member(number, address));
    let mut role = federation.stream(&address.to_string()).await;
    assert_eq!(role.address, address);
    role.members_connected(3).await;
    role.detect(&proof);
    assert_eq!(role.approved().await.len(), 2);

    federation.world.commit(&Statement { peg_ins: vec![proof.clone()], ..Statement::default() });
    let burns = vec![federation.world.burn(0, 40_000_000)];
    federation.world.commit(&Statement { burns, ..Statement::default() });
    let request = federation.world.record_payout();
    // The members' own chain lags: the payout is not committed there yet, so nobody signs.
    role.started.remote.tell(request.clone()).unwrap();
    role.started.remote.ask(GetMembers {}).await.unwrap();
    role.started.stop().await.unwrap();
    role = federation.stream(&address.to_string()).await;
    federation.publish();
    role.members_connected(3).await;
    role.started.remote.tell(request.clone()).unwrap();
    let given = role.two_signatures().await;
    assert!(finishes(&federation.world, &request, &given));

    // Minted meanwhile: asked again, every member says no, once all have followed. Two of three were enough to sign.
    let height = u32::try_from(federation.world.blocks.last().unwrap().height).unwrap();
    for shown in &federation.shown {
        page::shows(*shown, &[("alys_governance_head_height", height.into())]).await;
    }
    role.detect(&proof);
    let refusals =
        || role.started.status().into_iter().find(|(name, _)| *name == "refusals").map(|(_, value)| value).unwrap_or_default();
    until(|| (refusals().matches("already minted").count() == 3).then_some(())).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bitcoind_that_is_away_or_lags_delays_and_never_decides() {
    let mut federation = Federation::new().await;
    for bitcoind in &federation.bitcoinds {
        bitcoind.warming_up.store(true, Ordering::SeqCst);
    }
    let mut role = federation.stream("127.0.0.1:0").await;
    let members = [0, 1, 2].map(|number| federation.member(number, role.address));
    role.members_connected(3).await;
    let proof = federation.world.deposit(BTC, 21);
    role.detect(&proof);
    let refusals = |role: &Role| {
        role.started.status().into_iter().find(|(name, _)| *name == "refusals").map(|(_, value)| value).unwrap_or_default()
    };
    until(|| (refusals(&role).matches("not yet: own bitcoind is away").count() == 3).then_some(())).await;
    let ada = federation.shown[0];
    let away = [("alys_governance_session_connected", 1.0), ("alys_governance_bitcoin_reachable", 0.0)];
    page::shows(ada, &away).await;
    let (ready, _) = page::get(ada, "/readyz").await.unwrap();
    let metrics = page::get(ada, "/metrics").await.unwrap().1;
    assert!(ready == 200 && metrics.contains("state=\"degraded\"} 1"), "it does what it can: {metrics}");
    assert!(!metrics.contains("approvals_refused_total{role=\"governance\",alys_instance=\"ada\",reason=\"bitcoin_away\"} 0"));
    for bitcoind in &federation.bitcoinds {
        bitcoind.warming_up.store(false, Ordering::SeqCst);
    }
    until(|| (refusals(&role).matches("does not have the deposit's block").count() == 3).then_some(())).await;
    assert!(role.chain.try_next().is_none());
    federation.publish();
    assert_eq!(role.approved().await.len(), 2);
    let done = [("alys_governance_bitcoin_reachable", 1.0), ("alys_governance_approvals_total", 1.0), ("alys_ready", 1.0)];
    page::shows(ada, &done).await;
    for member in members {
        member.stop().await;
    }
    assert!(page::get(ada, "/livez").await.is_none(), "the port goes with the process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_member_signs_the_same_again_and_never_a_second_payout_of_a_burn() {
    let mut federation = Federation::new().await;
    let request = federation.world.ready_to_sign();
    federation.publish();
    let mut role = federation.stream("127.0.0.1:0").await;
    let members = [0, 1].map(|number| federation.member(number, role.address));
    role.started.remote.tell(request.clone()).unwrap();
    let first = role.two_signatures().await;
    for member in members {
        member.stop().await;
    }
    role.started.stop().await.unwrap();

    // Bitcoin has moved on, the coins are spent: what was signed before is given again as it was.
    let spent = alys_peg::PayoutRecorded::try_from(request.payout.as_ref().unwrap()).unwrap().transaction;
    federation.world.bitcoin.mine(vec![spent]);
    federation.publish();
    let mut role = federation.stream("127.0.0.1:0").await;
    let members = [0, 1].map(|number| federation.member(number, role.address));
    role.started.remote.tell(request.clone()).unwrap();
    let mut again = role.two_signatures().await;
    again.sort_by(|left, right| left.member.cmp(&right.member));
    let mut before = first;
    before.sort_by(|left, right| left.member.cmp(&right.member));
    assert_eq!(again, before);

    // The same burns in a transaction that nobody recorded.
    let unknown = PayoutRecorded { txid: vec![3; 32], ..request.payout.clone().unwrap() };
    role.started.remote.tell(RequestFederationSignatures { payout: Some(unknown), ..request }).unwrap();
    let refusals =
        || role.started.status().into_iter().find(|(name, _)| *name == "refusals").map(|(_, value)| value).unwrap_or_default();
    until(|| (refusals().matches("[PEG-16] payout is not recorded on own chain").count() == 2).then_some(())).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_work_ends_at_once_with_the_reason() {
    let federation = Federation::new().await;
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let run = async |config: Config| {
        Box::pin(alys_governance::run(config, federation.world.spec.clone(), std::future::pending())).await.unwrap_err()
    };
    let mut other_key = federation.config(0, address);
    other_key.key_file = federation.file("bob.secret");
    let mut no_url = federation.config(0, address);
    no_url.bitcoin.url = String::new();
    let mut no_certificate = federation.config(0, address);
    no_certificate.tls.ca = federation.file("nowhere.pem");
    for config in [other_key, no_url, no_certificate] {
        let error = run(config).await;
        assert!(error.is_configuration(), "{error}");
    }
    // One process per database: two signers with one key must not have two memories.
    let genesis = *alys_governance::core::replay::Replay::new(federation.world.spec.clone()).unwrap().head();
    let _held = alys_governance::store::Store::open(&federation.file("ada-data"), genesis).unwrap();
    let error = run(federation.config(0, address)).await;
    assert!(matches!(error, GovernanceError::Store(_)), "{error}");
}
