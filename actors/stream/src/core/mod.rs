//! The whole logic of `stream`: who is connected, what each member was asked, and when enough of them have answered.
//! `State::step(now, Input) -> Vec<Effect>`; no clock, no IO.
//!
//! Nothing here is on disk. After a restart the tables are empty; bridge repeats what is open, members register again and
//! are asked again, and every answer is idempotent on both sides.

mod deposits;
mod effect;
mod input;
mod members;
mod payouts;
mod routes;
mod turn;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_proto::governance::{HeadChanged, ToMember, from_member, to_member};
use alys_proto::link::Arrival;
use alys_proto::storage::BurnId;
use alys_proto::stream as wire;

pub use deposits::{DepositStage, MAX_DEPOSITS, OutPointKey};
pub use effect::{CloseReason, Effect, RoutedMessage};
pub use input::{Answered, ConnectionId, Input, MemberName, Millis, Registration, RouteId};
pub use payouts::{MAX_PAYOUTS, MAX_SIGNATURES};
pub use routes::MAX_ROUTED;

use deposits::Deposits;
use members::Member;
use payouts::Payouts;
use routes::Routes;

/// Longest reason that is kept of what a member or another role says.
pub const MAX_REASON: usize = 200;

/// Numbered messages of a member after which it gets an acknowledgement at once.
const ACKNOWLEDGE_EVERY: u64 = 64;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats to a member.
    pub heartbeat: Millis,
    /// A member that is silent for this long is disconnected.
    pub silence: Millis,
    /// A member or role that could not yet is asked again after this.
    pub retry: Millis,
    /// A member that did not answer at all is asked again after this.
    pub ask_again: Millis,
    /// What bridge no longer repeats is forgotten after this.
    pub forget: Millis,
}

impl Timing {
    /// From durations; what is longer than 2^64 ms is as good as for ever.
    pub fn new(heartbeat: Duration, silence: Duration, retry: Duration, ask_again: Duration, forget: Duration) -> Self {
        let millis = |duration: Duration| Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Self {
            heartbeat: millis(heartbeat),
            silence: millis(silence),
            retry: millis(retry),
            ask_again: millis(ask_again),
            forget: millis(forget),
        }
    }
}

/// What fell out of a bound or broke a rule, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deposits refused because the table was full; bridge repeats them.
    pub deposits_dropped: u64,
    /// Payouts refused because the table was full; bridge repeats them.
    pub payouts_dropped: u64,
    /// Messages of members that broke the protocol or made no sense.
    pub member_faults: u64,
    /// Malformed messages of other roles.
    pub role_faults: u64,
}

/// State of the role.
#[derive(Debug)]
pub struct State {
    chain_id: u64,
    genesis: [u8; 32],
    incarnation: u64,
    threshold: usize,
    timing: Timing,
    members: BTreeMap<MemberName, Member>,
    /// At most one per member: a new connection of a member displaces its old one.
    connections: BTreeMap<ConnectionId, MemberName>,
    deposits: Deposits,
    payouts: Payouts,
    routes: Routes,
    head: Option<HeadChanged>,
    last_heartbeat: Millis,
    counters: Counters,
}

impl State {
    /// Nobody connected, nothing open. `incarnation` is random, new at every start.
    pub fn new(spec: &ChainSpec, timing: Timing, incarnation: u64) -> Self {
        let members = spec.federation.members.iter().map(|m| (MemberName(m.name.clone()), Member::new(m.public_key.0))).collect();
        Self {
            chain_id: spec.chain_id,
            genesis: spec.genesis_hash().0,
            incarnation,
            threshold: usize::try_from(spec.federation.threshold).unwrap_or(usize::MAX),
            timing,
            members,
            connections: BTreeMap::new(),
            deposits: Deposits::default(),
            payouts: Payouts::default(),
            routes: Routes::default(),
            head: None,
            last_heartbeat: Millis(0),
            counters: Counters::default(),
        }
    }

    /// One input at a time.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connected { connection, certificate_name, registration } => {
                self.connected(now, connection, &certificate_name, registration, &mut effects);
            }
            Input::Received { connection, message } => self.received(now, connection, message, &mut effects),
            Input::Disconnected { connection } => self.disconnected(connection),
            Input::DepositDetected(deposit) => {
                self.deposits.detected(now, deposit, &mut self.counters);
                self.ask_deposits(now, &mut effects);
                self.pass_quorums_on(now, &mut effects);
            }
            Input::SignaturesRequested(request) => {
                self.payouts.requested(now, request, &mut self.counters);
                self.ask_payouts(now, &mut effects);
                self.deliver_signatures(now, &mut effects);
            }
            Input::SigningFinished { txid } => self.payouts.finished(&txid),
            Input::Finalized { height, hash } => self.finalized(HeadChanged { height, hash }, &mut effects),
            Input::ChainAnswered { outpoint, answer } => self.deposits.chain_answered(now, &outpoint, answer, self.timing.retry),
            Input::BridgeAnswered { member, txid, answer } => {
                self.payouts.bridge_answered(now, &member, &txid, answer, self.timing.retry);
            }
            Input::RouteAnswered { route, answer } => self.routes.answered(now, route, answer, self.timing.retry),
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.drop_silent(now, effects);
        if now.since(self.last_heartbeat) >= self.timing.heartbeat {
            self.last_heartbeat = now;
            self.heartbeat(now, effects);
        }
        self.deposits.forget(now, self.timing.forget);
        self.payouts.forget(now, self.timing.forget);
        self.ask_deposits(now, effects);
        self.ask_payouts(now, effects);
        self.pass_quorums_on(now, effects);
        self.deliver_signatures(now, effects);
        self.routes.due(now, effects);
    }

    fn received(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        message: alys_proto::governance::FromMember,
        effects: &mut Vec<Effect>,
    ) {
        // A message of a connection that was closed meanwhile; what was not acknowledged comes again.
        let Some(name) = self.connections.get(&connection).cloned() else { return };
        match self.accept(now, &name, &message) {
            Ok(true) => {
                if let Some(payload) = message.payload {
                    self.act(now, &name, payload, effects);
                }
            }
            Ok(false) => {}
            Err(reason) => {
                if reason.is_fault() {
                    self.counters.member_faults = self.counters.member_faults.saturating_add(1);
                }
                self.close(connection, reason, effects);
            }
        }
    }

    /// Checks numbers and acknowledgement. `Ok(true)`: act on it.
    fn accept(
        &mut self,
        now: Millis,
        name: &MemberName,
        message: &alys_proto::governance::FromMember,
    ) -> Result<bool, CloseReason> {
        let Some(member) = self.members.get_mut(name) else { return Err(CloseReason::NotAMember) };
        member.last_heard = now;
        member.link.acknowledge(message.acknowledged).map_err(CloseReason::ForgedAcknowledgement)?;
        let numbered = match message.payload {
            Some(from_member::Payload::Register(_)) => return Err(CloseReason::RegisteredTwice),
            Some(from_member::Payload::Heartbeat(_)) => false,
            Some(from_member::Payload::BlockProposal(_) | from_member::Payload::FederationUpdate(_)) if self.routes.is_full() => {
                return Err(CloseReason::Busy);
            }
            // A payload that this build does not know is acknowledged like any other, so that a newer member does not hang.
            _ => true,
        };
        if numbered != (message.sequence > 0) {
            return Err(CloseReason::BadNumber);
        }
        match member.link.arrive(message.sequence) {
            Arrival::Act => Ok(true),
            Arrival::Again => Ok(false),
            Arrival::Gap { expected } => Err(CloseReason::Gap { expected, got: message.sequence }),
        }
    }

    fn act(&mut self, now: Millis, name: &MemberName, payload: from_member::Payload, effects: &mut Vec<Effect>) {
        let key = self.members.get(name).map(|member| member.public_key).unwrap_or_default();
        let sensible = match payload {
            from_member::Payload::Heartbeat(heartbeat) => {
                if let Some(member) = self.members.get_mut(name) {
                    member.chain_height = heartbeat.chain_height;
                    member.bitcoin_height = heartbeat.bitcoin_height;
                }
                true
            }
            from_member::Payload::Approval(approval) => self.deposits.approved(name, approval.outpoint.as_ref()),
            from_member::Payload::Signatures(signatures) => self.payouts.signed(name, &key, signatures),
            from_member::Payload::Refusal(refusal) => {
                let retry_at = refusal.retry.then(|| now.after(self.timing.retry));
                self.deposits.refused(name, &refusal, retry_at) || self.payouts.refused(name, &refusal, retry_at)
            }
            from_member::Payload::BlockProposal(record) => self.routes.add(RoutedMessage::BlockProposal(record)),
            from_member::Payload::FederationUpdate(record) => self.routes.add(RoutedMessage::FederationUpdate(record)),
            from_member::Payload::Register(_) => false,
        };
        if !sensible {
            self.counters.member_faults = self.counters.member_faults.saturating_add(1);
        }
        self.acknowledge_often(now, name, effects);
        self.pass_quorums_on(now, effects);
        self.deliver_signatures(now, effects);
        self.routes.due(now, effects);
    }

    /// A member keeps what is not acknowledged and can keep only so much: in a burst the heartbeat comes too late.
    fn acknowledge_often(&self, now: Millis, name: &MemberName, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get(name) else { return };
        if let Some(connection) = member.connection
            && member.link.acted() > 0
            && member.link.acted().is_multiple_of(ACKNOWLEDGE_EVERY)
        {
            let heartbeat = self.heartbeat_at(now);
            effects.push(Effect::Send { connection, message: member.unnumbered(to_member::Payload::Heartbeat(heartbeat)) });
        }
    }

    fn ask_deposits(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for (name, member) in &mut self.members {
            let Some(connection) = member.connection else { continue };
            for (turn, request) in self.deposits.due(now, name, self.timing.ask_again) {
                if !member.send_numbered(connection, to_member::Payload::ApprovalRequest(request), effects) {
                    break;
                }
                turn.asked(now);
            }
        }
    }

    fn ask_payouts(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for (name, member) in &mut self.members {
            let Some(connection) = member.connection else { continue };
            for (turn, request) in self.payouts.due(now, name, self.timing.ask_again) {
                if !member.send_numbered(connection, to_member::Payload::SignatureRequest(request), effects) {
                    break;
                }
                turn.asked(now);
            }
        }
    }

    fn pass_quorums_on(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.deposits.quorums(now, self.threshold, self.timing.retry, effects);
    }

    fn deliver_signatures(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.payouts.deliveries(now, effects);
    }

    fn finalized(&mut self, head: HeadChanged, effects: &mut Vec<Effect>) {
        if self.head.as_ref().is_some_and(|known| known.height >= head.height) {
            return;
        }
        for member in self.members.values() {
            if let Some(connection) = member.connection {
                effects
                    .push(Effect::Send { connection, message: member.unnumbered(to_member::Payload::HeadChanged(head.clone())) });
            }
        }
        self.head = Some(head);
    }

    /// What `GetMembers` answers.
    pub fn members(&self) -> wire::Members {
        let members = self.members.iter().map(|(name, member)| wire::Member {
            name: name.0.clone(),
            connected: member.connection.is_some(),
            last_heard_unix_millis: member.last_heard.0,
            chain_height: member.chain_height,
            bitcoin_height: member.bitcoin_height,
        });
        wire::Members { members: members.collect() }
    }

    /// Who is on this connection.
    pub fn member(&self, connection: ConnectionId) -> Option<&MemberName> {
        self.connections.get(&connection)
    }

    /// Whether this deposit waits for approvals or for chain.
    pub fn is_open(&self, deposit: &OutPointKey) -> bool {
        self.deposits.is_open(deposit)
    }

    /// The burns of an open payout.
    pub fn burns_of(&self, txid: &[u8; 32]) -> &[BurnId] {
        self.payouts.burns_of(txid)
    }

    /// Members that are connected, of all.
    pub fn connected_members(&self) -> (usize, usize) {
        (self.connections.len(), self.members.len())
    }

    /// Signatures and approvals needed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// Open deposits, payouts and routed messages.
    pub fn open(&self) -> (usize, usize, usize) {
        (self.deposits.len(), self.payouts.len(), self.routes.len())
    }

    /// What fell out.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Who refused what for good and why, one line each, at most `limit`.
    pub fn refusals(&self, limit: usize) -> Vec<String> {
        self.deposits.refusals().chain(self.payouts.refusals()).take(limit).collect()
    }
}

/// `reason` cut to [`MAX_REASON`] characters.
fn bounded(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

fn envelope(sequence: u64, acknowledged: u64, payload: to_member::Payload) -> ToMember {
    ToMember { sequence, acknowledged, payload: Some(payload) }
}
