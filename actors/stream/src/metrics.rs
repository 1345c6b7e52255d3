//! The stream role's own metrics.

use documented::DocumentedFields;
use serde::Serialize;

use crate::core::State;

/// What the stream role shows beside the shell's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Members of the federation that are connected.
    members_connected: usize,
    /// Members of the federation.
    members: usize,
    /// Members whose approval or signature is needed.
    threshold: usize,
    /// Whether as many as are needed are connected.
    quorum: bool,
    /// Deposits that wait for approvals.
    deposits_open: usize,
    /// Payouts that wait for signatures.
    payouts_open: usize,
    /// Governance records that wait for the role they are for.
    records_open: usize,
    /// Messages of members that broke the protocol or made no sense.
    member_faults_total: u64,
    /// Malformed messages of other roles.
    role_faults_total: u64,
    /// Deposits and payouts refused because a table was full; bridge repeats them.
    dropped_total: u64,
    /// Connections that were closed because the member did not read fast enough.
    slow_members_total: u64,
}

impl Metrics {
    pub(crate) fn of(state: &State, slow_members_total: u64) -> Self {
        let (members_connected, members) = state.connected_members();
        let (deposits_open, payouts_open, records_open) = state.open();
        let counters = state.counters();
        Self {
            members_connected,
            members,
            threshold: state.threshold(),
            quorum: members_connected >= state.threshold(),
            deposits_open,
            payouts_open,
            records_open,
            member_faults_total: counters.member_faults,
            role_faults_total: counters.role_faults,
            dropped_total: counters.deposits_dropped.saturating_add(counters.payouts_dropped),
            slow_members_total,
        }
    }
}
