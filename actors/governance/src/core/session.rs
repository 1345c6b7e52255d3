//! Our end of the session with the stream: numbers, acknowledgements, resume, and which requests are being worked on.
//!
//! Answers are kept until the stream has acknowledged them, so a connection may drop at any time. Requests are worked on
//! once at a time: the stream may ask again (after a restart, after a while) and the answer is the same.

use std::collections::BTreeSet;

use alys_proto::common::OutPoint;
use alys_proto::governance::{
    Approval, FromMember, GovernanceApprovalRequest, Heartbeat, Register, Signatures, ToMember, from_member, refusal, to_member,
};
use alys_proto::link::{Arrival, ForgedAcknowledgement, Link};
use alys_proto::stream::RequestFederationSignatures;

use super::refusal::Refusal;

/// Requests worked on at once: as many as the stream may leave unacknowledged. More are answered "not yet".
pub const MAX_WORK: usize = 256;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A deposit.
    Deposit {
        /// Transaction id, as it came.
        txid: Vec<u8>,
        /// Output.
        vout: u32,
    },
    /// A payout, by transaction id, as it came.
    Payout(Vec<u8>),
}

/// A request to work on.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Approve a deposit?
    Approve(GovernanceApprovalRequest),
    /// Sign a payout?
    Sign(RequestFederationSignatures),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send.
    Send(FromMember),
    /// Work on a request; its outcome goes to [`SessionCore::finished`].
    Work(Subject, Work),
    /// The chain has a new head: follow it now.
    Follow,
}

/// The stream broke the protocol: drop the connection, connect again and resume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// Something before Registered.
    #[error("a message before the registration was confirmed")]
    NotRegistered,
    /// Registered twice.
    #[error("registered twice")]
    RegisteredTwice,
    /// A message is missing.
    #[error("expected message {expected}, got {got}")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// A number where none belongs, or none where one does.
    #[error("wrong numbering")]
    BadNumber,
    /// Acknowledged what was never sent.
    #[error(transparent)]
    ForgedAcknowledgement(#[from] ForgedAcknowledgement),
}

/// Our end.
#[derive(Debug)]
pub struct SessionCore {
    register: Register,
    link: Link<from_member::Payload>,
    registered: bool,
    working: BTreeSet<Subject>,
    unanswered: u64,
}

impl SessionCore {
    /// `register.incarnation` is random, new at every start of the process.
    pub fn new(register: Register) -> Self {
        Self { register, link: Link::default(), registered: false, working: BTreeSet::new(), unanswered: 0 }
    }

    /// A connection opens: its first message.
    pub fn connect(&mut self) -> FromMember {
        self.registered = false;
        self.envelope(0, from_member::Payload::Register(self.register.clone()))
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.registered = false;
    }

    /// Whether the stream has confirmed the registration on this connection.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Answers that fell out because the stream acknowledged none for too long; it asks again.
    pub const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// A message of the stream.
    pub fn received(&mut self, message: ToMember) -> Result<Vec<Action>, SessionFault> {
        if let Some(to_member::Payload::Registered(registered)) = &message.payload {
            return self.confirmed(registered.incarnation, registered.resume_after);
        }
        if !self.registered {
            return Err(SessionFault::NotRegistered);
        }
        self.link.acknowledge(message.acknowledged)?;
        let numbered = !matches!(message.payload, Some(to_member::Payload::Heartbeat(_) | to_member::Payload::HeadChanged(_)));
        if numbered != (message.sequence > 0) {
            return Err(SessionFault::BadNumber);
        }
        match self.link.arrive(message.sequence) {
            Arrival::Gap { expected } => Err(SessionFault::Gap { expected, got: message.sequence }),
            Arrival::Again => Ok(Vec::new()),
            Arrival::Act => Ok(message.payload.map(|payload| self.act(payload)).unwrap_or_default()),
        }
    }

    fn confirmed(&mut self, incarnation: u64, resume_after: u64) -> Result<Vec<Action>, SessionFault> {
        if self.registered {
            return Err(SessionFault::RegisteredTwice);
        }
        if !self.link.meet(incarnation) {
            self.link.acknowledge(resume_after)?;
        }
        self.registered = true;
        let again = self.link.unacknowledged().map(|(number, payload)| Action::Send(self.envelope(*number, payload.clone())));
        Ok(again.chain([Action::Follow]).collect())
    }

    fn act(&mut self, payload: to_member::Payload) -> Vec<Action> {
        match payload {
            to_member::Payload::ApprovalRequest(request) => {
                let outpoint = request.deposit.as_ref().and_then(|deposit| deposit.outpoint.clone()).unwrap_or_default();
                self.take(Subject::Deposit { txid: outpoint.txid, vout: outpoint.vout }, Work::Approve(request))
            }
            to_member::Payload::SignatureRequest(request) => {
                let txid = request.payout.as_ref().map(|payout| payout.txid.clone()).unwrap_or_default();
                self.take(Subject::Payout(txid), Work::Sign(request))
            }
            to_member::Payload::HeadChanged(_) => vec![Action::Follow],
            to_member::Payload::Heartbeat(_) | to_member::Payload::Registered(_) => Vec::new(),
        }
    }

    fn take(&mut self, subject: Subject, work: Work) -> Vec<Action> {
        if self.working.contains(&subject) {
            return Vec::new();
        }
        if self.working.len() >= MAX_WORK {
            let busy = subject.refused("busy".to_owned(), true);
            return self.answer(busy).into_iter().collect();
        }
        self.working.insert(subject.clone());
        vec![Action::Work(subject, work)]
    }

    /// A request has been worked on. What is to be sent now; nothing while there is no connection (it is kept).
    pub fn finished(&mut self, subject: &Subject, answer: Answer) -> Option<Action> {
        self.working.remove(subject);
        let payload = match answer {
            Answer::Approved => from_member::Payload::Approval(Approval { outpoint: subject.outpoint() }),
            Answer::Signed(signatures) => from_member::Payload::Signatures(signatures),
            Answer::Refused(refusal) => subject.refused(refusal.to_string(), refusal.retry()),
        };
        self.answer(payload)
    }

    fn answer(&mut self, payload: from_member::Payload) -> Option<Action> {
        match self.link.keep(payload.clone()) {
            Ok(number) => self.registered.then(|| Action::Send(self.envelope(number, payload))),
            Err(_full) => {
                self.unanswered = self.unanswered.saturating_add(1);
                None
            }
        }
    }

    /// Our part of a decision of the federation. Nothing while there is no connection: it is told again.
    pub fn propose(&mut self, record: Vec<u8>) -> Option<Action> {
        if self.registered { self.answer(from_member::Payload::BlockProposal(record)) } else { None }
    }

    /// A heartbeat, once registered.
    pub fn heartbeat(&self, heartbeat: Heartbeat) -> Option<FromMember> {
        self.registered.then(|| self.envelope(0, from_member::Payload::Heartbeat(heartbeat)))
    }

    fn envelope(&self, sequence: u64, payload: from_member::Payload) -> FromMember {
        FromMember { sequence, acknowledged: self.link.acted(), payload: Some(payload) }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The deposit is approved.
    Approved,
    /// The payout is signed.
    Signed(Signatures),
    /// Neither.
    Refused(Refusal),
}

impl Subject {
    fn outpoint(&self) -> Option<OutPoint> {
        match self {
            Self::Deposit { txid, vout } => Some(OutPoint { txid: txid.clone(), vout: *vout }),
            Self::Payout(_) => None,
        }
    }

    fn refused(&self, reason: String, retry: bool) -> from_member::Payload {
        let what = match self {
            Self::Deposit { txid, vout } => refusal::What::Outpoint(OutPoint { txid: txid.clone(), vout: *vout }),
            Self::Payout(txid) => refusal::What::PayoutTxid(txid.clone()),
        };
        from_member::Payload::Refusal(alys_proto::governance::Refusal { what: Some(what), reason, retry })
    }
}
