//! Who is connected: registration, displacement, silence, heartbeats.

use alys_proto::governance::{Heartbeat, Registered, ToMember, to_member};
use alys_proto::link::Link;

use super::effect::{CloseReason, Effect};
use super::input::{ConnectionId, MemberName, Millis, Registration};
use super::{State, envelope};

/// One member of the federation, connected or not.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) public_key: [u8; 32],
    pub(super) connection: Option<ConnectionId>,
    pub(super) link: Link<to_member::Payload>,
    pub(super) last_heard: Millis,
    pub(super) chain_height: u64,
    pub(super) bitcoin_height: u32,
}

impl Member {
    pub(super) fn new(public_key: [u8; 32]) -> Self {
        Self { public_key, connection: None, link: Link::default(), last_heard: Millis(0), chain_height: 0, bitcoin_height: 0 }
    }

    /// `false`: too much is unacknowledged; try again later.
    pub(super) fn send_numbered(
        &mut self,
        connection: ConnectionId,
        payload: to_member::Payload,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Ok(sequence) = self.link.keep(payload.clone()) else { return false };
        effects.push(Effect::Send { connection, message: envelope(sequence, self.link.acted(), payload) });
        true
    }

    pub(super) fn unnumbered(&self, payload: to_member::Payload) -> ToMember {
        envelope(0, self.link.acted(), payload)
    }
}

impl State {
    pub(super) fn connected(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        certificate: &str,
        registration: Registration,
        effects: &mut Vec<Effect>,
    ) {
        let name = MemberName(certificate.to_owned());
        if let Err(reason) = self.check_registration(&name, &registration) {
            effects.push(Effect::Close { connection, reason });
            return;
        }
        let Some(member) = self.members.get_mut(&name) else { return };
        if let Some(old) = member.connection.replace(connection) {
            self.connections.remove(&old);
            effects.push(Effect::Close { connection: old, reason: CloseReason::Displaced });
        }
        self.connections.insert(connection, name.clone());
        member.last_heard = now;
        if member.link.meet(registration.register.incarnation) {
            // What was asked of its former life is asked again from the tables, so nothing has to be kept.
            member.link.forget_kept();
            self.deposits.member_restarted(&name);
            self.payouts.member_restarted(&name);
        } else if let Err(forged) = member.link.acknowledge(registration.acknowledged) {
            self.counters.member_faults = self.counters.member_faults.saturating_add(1);
            self.close(connection, CloseReason::ForgedAcknowledgement(forged), effects);
            return;
        }
        self.welcome(now, connection, &name, effects);
    }

    /// Registered, then what was not acknowledged, then what is still to be asked.
    fn welcome(&mut self, now: Millis, connection: ConnectionId, name: &MemberName, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get(name) else { return };
        let registered = Registered { resume_after: member.link.acted(), incarnation: self.incarnation };
        effects.push(Effect::Send { connection, message: member.unnumbered(to_member::Payload::Registered(registered)) });
        for (sequence, payload) in member.link.unacknowledged() {
            effects.push(Effect::Send { connection, message: envelope(*sequence, member.link.acted(), payload.clone()) });
        }
        if let Some(head) = &self.head {
            effects.push(Effect::Send { connection, message: member.unnumbered(to_member::Payload::HeadChanged(head.clone())) });
        }
        self.ask_deposits(now, effects);
        self.ask_payouts(now, effects);
    }

    fn check_registration(&self, name: &MemberName, registration: &Registration) -> Result<(), CloseReason> {
        let member = self.members.get(name).ok_or(CloseReason::NotAMember)?;
        let register = &registration.register;
        if register.member != name.0 {
            return Err(CloseReason::WrongName { certificate: name.0.clone(), registered: super::bounded(&register.member) });
        }
        if register.chain_id != self.chain_id || register.genesis_hash != self.genesis {
            return Err(CloseReason::WrongChain);
        }
        if register.public_key != member.public_key {
            return Err(CloseReason::WrongKey);
        }
        Ok(())
    }

    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        let Some(name) = self.connections.remove(&connection) else { return };
        if let Some(member) = self.members.get_mut(&name) {
            member.connection = None;
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId, reason: CloseReason, effects: &mut Vec<Effect>) {
        self.disconnected(connection);
        effects.push(Effect::Close { connection, reason });
    }

    pub(super) fn drop_silent(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let silence = self.timing.silence;
        let silent: Vec<ConnectionId> = self
            .members
            .values()
            .filter(|member| now.since(member.last_heard) >= silence)
            .filter_map(|member| member.connection)
            .collect();
        for connection in silent {
            self.close(connection, CloseReason::Silent, effects);
        }
    }

    pub(super) fn heartbeat(&self, now: Millis, effects: &mut Vec<Effect>) {
        for member in self.members.values() {
            let Some(connection) = member.connection else { continue };
            let heartbeat = to_member::Payload::Heartbeat(self.heartbeat_at(now));
            effects.push(Effect::Send { connection, message: member.unnumbered(heartbeat) });
        }
    }

    pub(super) fn heartbeat_at(&self, now: Millis) -> Heartbeat {
        let chain_height = self.head.as_ref().map(|head| head.height).unwrap_or_default();
        Heartbeat { unix_millis: now.0, chain_height, bitcoin_height: 0 }
    }
}
