//! At least once, and not twice: what both ends of a posted message decide. Pure; the outboxes themselves are in storage.
//!
//! | the receiver's answer | the sender |
//! |---|---|
//! | acknowledged: handled, and marked as handled on disk | clears it |
//! | refused, and that may pass (`Busy`, `NotReady`, `TooLate`, `Unreachable`, `Fenced`) | sends it again, and what comes after it behind it |
//! | `Failed`: the receiver's guard has made a dead letter of it | clears it |
//! | `Unknown`, `Malformed`, `Unauthorised`: nobody will ever handle it | makes it a dead letter |
//!
//! | number of a message | the receiver |
//! |---|---|
//! | above the highest of that sender that it has handled | handles it, marks it, acknowledges |
//! | not above it | was handled before: marks it again, acknowledges |
//!
//! A sender has one message to a receiver under way at a time, in the order in which they were posted, so one number a sender
//! is memory enough. Between a handler's effect and the mark the receiver can still die: then it is handled once more, which
//! is why handlers of posted messages must not mind ([why](../../docs/adr/0012-outbox.md)).

use std::collections::BTreeMap;

use alys_proto::{Refused, Role};

/// What a sender does next with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is done with.
    Clear,
    /// Send it again after a while.
    Again,
    /// Nobody will handle it, for this reason.
    Dead(Refused),
}

/// What an answer means for a posted message.
pub fn after(answer: Result<(), Refused>) -> Next {
    match answer {
        Ok(()) | Err(Refused::Failed(_)) => Next::Clear,
        Err(refused @ (Refused::Unknown(_) | Refused::Malformed(_) | Refused::Unauthorised(_))) => Next::Dead(refused),
        Err(_passing) => Next::Again,
    }
}

/// The highest number of each sender that a receiver has handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Role, u64>);

impl Marks {
    /// Whether a message was handled before.
    pub fn knows(&self, sender: Role, number: u64) -> bool {
        self.0.get(&sender).is_some_and(|highest| number <= *highest)
    }

    /// It is handled. Marks never go back.
    pub fn set(&mut self, sender: Role, number: u64) {
        let highest = self.0.entry(sender).or_default();
        *highest = number.max(*highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_row() {
        let text = String::new;
        let table = [
            (Ok(()), Next::Clear),
            (Err(Refused::Failed(text())), Next::Clear),
            (Err(Refused::Busy(text())), Next::Again),
            (Err(Refused::NotReady(text())), Next::Again),
            (Err(Refused::TooLate(text())), Next::Again),
            (Err(Refused::Unreachable(text())), Next::Again),
            (Err(Refused::Fenced(text())), Next::Again),
            (Err(Refused::Unknown(text())), Next::Dead(Refused::Unknown(text()))),
            (Err(Refused::Malformed(text())), Next::Dead(Refused::Malformed(text()))),
            (Err(Refused::Unauthorised(text())), Next::Dead(Refused::Unauthorised(text()))),
        ];
        for (answer, expected) in table {
            assert_eq!(after(answer.clone()), expected, "{answer:?}");
        }
    }

    #[test]
    fn marks_never_go_back() {
        let mut marks = Marks::default();
        assert!(!marks.knows(Role::Engine, 1));
        marks.set(Role::Engine, 5);
        marks.set(Role::Engine, 3);
        assert!(marks.knows(Role::Engine, 5) && marks.knows(Role::Engine, 4) && !marks.knows(Role::Engine, 6));
        assert!(!marks.knows(Role::Bridge, 1), "each sender has its own");
    }
}
