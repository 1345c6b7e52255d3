//! Which role may send which message: what a stolen certificate of one role cannot do.
//!
//! A service takes messages from the roles that work with it, and from the debug node, which is the operator. Messages that
//! move money, decide blocks or end processes come from exactly the roles named for them; reads and the rest from any
//! role of the service. `docs/permissions.md` shows every cell; a test keeps it equal to this.

use crate::Role;

/// Whether `sender` may send this message to this service (a role's name, or `cluster` for the inspector).
pub fn may_send(sender: Role, service: &str, method: &str) -> bool {
    match only(service, method) {
        Some(named) => named.contains(&sender),
        None => of_service(service).contains(&sender),
    }
}

/// The roles that work with a service.
const fn of_service(service: &str) -> &'static [Role] {
    match service.as_bytes() {
        b"storage" => {
            &[Role::Supervisor, Role::Engine, Role::Chain, Role::Bridge, Role::Stream, Role::Network, Role::Sync, Role::Debug]
        }
        b"engine" => &[Role::Chain, Role::Bridge, Role::Network, Role::Debug],
        b"chain" => &[Role::Bridge, Role::Stream, Role::Network, Role::Sync, Role::Debug],
        b"bridge" => &[Role::Engine, Role::Chain, Role::Stream, Role::Debug],
        b"stream" => &[Role::Chain, Role::Bridge, Role::Debug],
        b"network" => &[Role::Chain, Role::Engine, Role::Sync, Role::Debug],
        b"sync" => &[Role::Supervisor, Role::Chain, Role::Network, Role::Sync, Role::Debug],
        b"supervisor" => &[Role::Debug],
        b"cluster" => &[Role::Supervisor, Role::Debug],
        _ => &[],
    }
}

/// The roles whose shell keeps outboxes, marks and dead letters in storage.
const ASSISTED: &[Role] = &[Role::Engine, Role::Chain, Role::Bridge, Role::Stream, Role::Network, Role::Sync];

/// The only senders of a message on which money, blocks or processes hang.
fn only(service: &str, method: &str) -> Option<&'static [Role]> {
    Some(match (service, method) {
        ("storage", "CommitBlock" | "CommitBlocks" | "AppendWal" | "GetWal") => &[Role::Chain],
        ("storage", "PutDocuments") => &[Role::Chain, Role::Bridge],
        ("storage", "AcquireLease" | "RenewLease" | "ReleaseLease") => &[Role::Supervisor, Role::Chain, Role::Bridge],
        ("storage", "RequeueDeadLetter" | "StartBackup" | "GetBackup") => &[Role::Debug],
        ("storage", "PostMessage" | "GetPosted" | "ClearPosted" | "MarkHandled" | "GetHandled") => ASSISTED,
        ("storage", "ReportDeath" | "AddDeadLetter" | "TakeRequeued") => ASSISTED,
        ("engine", "BuildBlockRequest" | "ExecuteBlock" | "CommitExecution") => &[Role::Chain],
        ("engine", "ProcessTransaction") => &[Role::Network],
        ("chain", "PegInValidationRequest" | "GovernanceBlockProposal") => &[Role::Stream],
        ("chain", "ProposePayout" | "PayoutConfirmed" | "ProposeRefund" | "BitcoinViewChanged") => &[Role::Bridge],
        ("chain", "BlockReceived" | "ConsensusMessage") => &[Role::Network],
        ("chain", "ValidatedBlockBatch") => &[Role::Sync],
        ("chain", "CreateAuxBlock" | "SubmitAuxBlock") => &[Role::Debug],
        ("bridge", "BurnEventDetected") => &[Role::Engine],
        ("bridge", "FinalizedBlock" | "ValidatePegOperations") => &[Role::Chain],
        ("bridge", "FederationSignatures" | "FederationConfigUpdate") => &[Role::Stream],
        ("stream", "BitcoinTransactionDetected" | "RequestFederationSignatures" | "SigningFinished") => &[Role::Bridge],
        ("stream" | "network", "FinalizedBlock") => &[Role::Chain],
        ("network", "HeadAdvanced" | "PublishConsensus") => &[Role::Chain],
        ("network", "PublishTransaction") => &[Role::Engine],
        ("cluster", "MailboxFreeze" | "MailboxStep" | "MailboxThaw" | "TapOpen" | "TapRead" | "TapClose" | "Audit") => {
            &[Role::Debug]
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::ROLES;
    use crate::wire::Method;
    use crate::{Inbox, bridge, chain, cluster, engine, network, stream, supervisor, sync};
    use std::fmt::Write as _;

    fn services() -> [(&'static str, &'static [Method]); 9] {
        [
            (crate::storage::Inbox::SERVICE, crate::storage::Inbox::METHODS),
            (engine::Inbox::SERVICE, engine::Inbox::METHODS),
            (chain::Inbox::SERVICE, chain::Inbox::METHODS),
            (bridge::Inbox::SERVICE, bridge::Inbox::METHODS),
            (stream::Inbox::SERVICE, stream::Inbox::METHODS),
            (network::Inbox::SERVICE, network::Inbox::METHODS),
            (sync::Inbox::SERVICE, sync::Inbox::METHODS),
            (supervisor::Inbox::SERVICE, supervisor::Inbox::METHODS),
            (cluster::Inbox::SERVICE, cluster::Inbox::METHODS),
        ]
    }

    /// Every cell of the matrix, as `docs/permissions.md` shows it. `ALYS_BLESS=1` writes the file anew.
    #[test]
    fn every_cell_is_as_the_document_says() {
        let senders = || ROLES.into_iter().chain([Role::Debug]);
        let mut text = String::from(
            "# Who may send what\n\nWritten by the test of `proto/src/permission.rs`, which is the law. `debug` is the operator's node.\n",
        );
        for (service, methods) in services() {
            let heads: Vec<&str> = senders().map(Role::name).collect();
            let _ =
                write!(text, "\n## To {service}\n\n| message | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
            for method in methods {
                let cell = |sender| if may_send(sender, service, method.name) { "yes" } else { "" };
                let cells: Vec<&str> = senders().map(cell).collect();
                let _ = writeln!(text, "| {} | {} |", method.name, cells.join(" | "));
            }
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
        if std::env::var_os("ALYS_BLESS").is_some() {
            std::fs::write(&path, &text).expect("docs can be written");
        }
        let written = std::fs::read_to_string(&path).expect("docs/permissions.md is committed");
        assert!(written == text, "docs/permissions.md differs: look at it and run this test with ALYS_BLESS=1");
    }

    #[test]
    fn named_messages_exist_and_nobody_else_may_send_them() {
        for (service, methods) in services() {
            for method in methods {
                for sender in ROLES.into_iter().chain([Role::Debug, Role::Unspecified]) {
                    let expected = only(service, method.name).unwrap_or(of_service(service)).contains(&sender);
                    assert_eq!(may_send(sender, service, method.name), expected, "{sender} {service}.{}", method.name);
                }
            }
        }
        assert!(!may_send(Role::Sync, "storage", "CommitBlock"));
        assert!(!may_send(Role::Sync, "storage", "CommitBlocks"));
        assert!(!may_send(Role::Debug, "chain", "PegInValidationRequest"), "not even the operator mints");
        assert!(!may_send(Role::Unspecified, "storage", "GetHead"));
        assert!(!may_send(Role::Bridge, "cluster", "Drain"), "a role does not end another");
    }
}
