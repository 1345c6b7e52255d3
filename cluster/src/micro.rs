//! What every message costs inside of one process, for the benches: the code that runs, and no interface for anybody else.

use std::sync::Arc;
use std::time::Duration;

use alys_proto::{Inbox, Refused, Role, Tell};

use crate::cluster::Cluster;
use crate::counts::Counts;
use crate::identity::Identity;
use crate::lease::Lease;
use crate::port::Deliver;
use crate::registry::Policy;
use crate::remote::{Remote, Route, Sender};

/// Looks up where messages to a role go; whether anybody is there.
#[must_use]
pub fn look_up(cluster: &Cluster, role: Role) -> bool {
    cluster.registry.find(role, Policy::Singleton).is_some()
}

/// A remote without a link: what is told is encoded, stamped, gets its header, and is counted where it arrives.
pub fn short_circuit<I: Inbox>() -> Remote<I> {
    let identity = Identity::new(Role::Debug, "micro");
    let counts = Counts::default();
    let deliver: Deliver = Arc::new(move |incoming| {
        for one in incoming {
            if let Some(method) = I::method(one.name) {
                counts.handled(method.name, Duration::from_micros(5), one.header.incarnation != identity.incarnation);
            }
        }
    });
    let sender = Sender::new(Identity::new(Role::Debug, "micro"), Duration::from_secs(5), Lease::of(Role::Debug));
    Remote::new(Route::Probe(deliver), sender)
}

/// The same message, only encoded: what is no part of header, stamp and counters.
///
/// # Errors
/// Never: an encoding into memory.
pub fn only_encode<I: Inbox, M: Tell<I>>(message: &M) -> Result<Vec<u8>, Refused> {
    Ok(message.encode_to_vec())
}
