//! Who may act as a role, and under which epoch. Time comes in: it is storage's own monotonic clock.
//!
//! | on record | asked by | so |
//! |---|---|---|
//! | nothing | anybody | granted, epoch 1 |
//! | held | the same incarnation | granted again, same epoch |
//! | released, or not renewed for its term | anybody | granted, epoch + 1 |
//! | held | one that saw the holder's process gone | granted, epoch + 1 |
//! | held | another | refused: who holds it, and how long still |
//!
//! | renewal or release by | so |
//! |---|---|
//! | the holder's incarnation with its epoch | done |
//! | anybody else | fenced |
//!
//! | a write of a fenced role | so |
//! |---|---|
//! | incarnation and epoch are those on record | taken, also past the expiry: nobody else holds it |
//! | epoch 0 (a build without leases), and nobody holds one | taken |
//! | anything else | fenced |
//!
//! After a restart every lease counts as renewed at that moment: storage cannot know how long it was away.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use alys_proto::Role;
use alys_proto::cluster::Process;

/// A moment on storage's clock, counted from its start.
pub type Moment = Duration;

/// The random id of one start of a process.
pub type Incarnation = [u8; 8];

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// Its name.
    pub instance: String,
    /// Its start.
    pub incarnation: Incarnation,
    /// Its process, for those who can see whether it still exists.
    pub process: Process,
    /// From a renewal to the moment when another may take over.
    pub term: Duration,
}

/// A lease on record.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The last holder.
    pub holder: Holder,
    /// Never granted twice, and only ever grows.
    pub epoch: u64,
    /// The holder gave it back.
    pub released: bool,
    /// When another may take over.
    pub until: Moment,
}

impl Lease {
    /// How long nobody else gets it; zero when anybody may.
    pub fn remaining(&self, now: Moment) -> Duration {
        if self.released { Duration::ZERO } else { self.until.saturating_sub(now) }
    }

    fn is_of(&self, incarnation: Incarnation, epoch: u64) -> bool {
        !self.released && self.holder.incarnation == incarnation && self.epoch == epoch
    }
}

/// Whether an asker gets the lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It has it, as the record will say.
    Granted(Lease),
    /// This one stands in its way.
    Held(Lease),
}

/// What a sender says of itself with every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its role.
    pub role: Role,
    /// Its incarnation; zeros when it gives none.
    pub incarnation: Incarnation,
    /// Its lease; 0 for none.
    pub epoch: u64,
}

/// Why a sender may not act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sender} comes with epoch {epoch} of {role}'s lease, but {holder} holds epoch {current}", sender = Hex(.stamp.incarnation), epoch = .stamp.epoch, role = .stamp.role)]
pub struct Stale {
    /// Who it is.
    pub stamp: Stamp,
    /// Who holds the lease, in words.
    pub holder: String,
    /// Its epoch.
    pub current: u64,
}

struct Hex(Incarnation);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// All leases.
#[derive(Clone, Debug, Default)]
pub struct Book {
    leases: BTreeMap<Role, Lease>,
}

impl Book {
    /// What the disk says, at storage's start.
    pub fn restore(leases: impl IntoIterator<Item = (Role, Lease)>, now: Moment) -> Self {
        let renewed = |(role, lease): (Role, Lease)| {
            let until = now.saturating_add(lease.holder.term);
            (role, Lease { until, ..lease })
        };
        Self { leases: leases.into_iter().map(renewed).collect() }
    }

    /// What an asker would get. `gone`: the incarnation whose process it saw to be gone.
    pub fn judge(&self, role: Role, asker: &Holder, gone: Option<Incarnation>, now: Moment) -> Verdict {
        let until = now.saturating_add(asker.term);
        let granted = |epoch| Verdict::Granted(Lease { holder: asker.clone(), epoch, released: false, until });
        match self.leases.get(&role) {
            None => granted(1),
            Some(lease) if lease.is_of(asker.incarnation, lease.epoch) => granted(lease.epoch),
            Some(lease) if lease.remaining(now).is_zero() || gone == Some(lease.holder.incarnation) => {
                granted(lease.epoch.saturating_add(1))
            }
            Some(lease) => Verdict::Held(lease.clone()),
        }
    }

    /// The same, and a granted lease is on record from now on: a renewal by the old holder fails before the disk has the new one.
    pub fn acquire(&mut self, role: Role, asker: &Holder, gone: Option<Incarnation>, now: Moment) -> Verdict {
        let verdict = self.judge(role, asker, gone, now);
        if let Verdict::Granted(lease) = &verdict {
            self.leases.insert(role, lease.clone());
        }
        verdict
    }

    /// The holder lives.
    pub fn renew(&mut self, stamp: Stamp, now: Moment) -> Result<(), Stale> {
        let lease = self.held_by(stamp)?;
        lease.until = now.saturating_add(lease.holder.term);
        Ok(())
    }

    /// The holder gives it back; the record as it is to be written.
    pub fn release(&mut self, stamp: Stamp) -> Result<Lease, Stale> {
        let lease = self.held_by(stamp)?;
        lease.released = true;
        Ok(lease.clone())
    }

    /// Whether this sender may write.
    pub fn check(&self, stamp: Stamp) -> Result<(), Stale> {
        let Some(lease) = self.leases.get(&stamp.role).filter(|_| stamp.role.is_fenced()) else { return Ok(()) };
        let without = stamp.epoch == 0 && lease.released;
        if without || lease.is_of(stamp.incarnation, stamp.epoch) { Ok(()) } else { Err(stale(stamp, Some(lease))) }
    }

    /// All on record.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &Lease)> {
        self.leases.iter().map(|(role, lease)| (*role, lease))
    }

    fn held_by(&mut self, stamp: Stamp) -> Result<&mut Lease, Stale> {
        match self.leases.get_mut(&stamp.role) {
            Some(lease) if lease.is_of(stamp.incarnation, stamp.epoch) => Ok(lease),
            other => Err(stale(stamp, other.as_deref())),
        }
    }
}

fn stale(stamp: Stamp, lease: Option<&Lease>) -> Stale {
    let holder = lease.map_or_else(
        || "nobody".to_owned(),
        |lease| {
            let given_back = if lease.released { ", which gave it back," } else { "" };
            format!("{} ({}){given_back}", lease.holder.instance, Hex(lease.holder.incarnation))
        },
    );
    Stale { stamp, holder, current: lease.map_or(0, |lease| lease.epoch) }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
