//! Outdated instances are replaced one after another, in start order, each when the one before works again.
//!
//! | the instance whose turn it is | so |
//! |---|---|
//! | is not outdated any more, or gone | passed over |
//! | is outdated | restarted |
//! | is another incarnation, works, and is not outdated | the next one's turn |
//! | is another incarnation, works, and is outdated still | the roll ends: a restart changes nothing |
//! | does not work within its patience | the roll ends: what comes behind would go the same way |

use std::collections::VecDeque;
use std::time::Duration;

use super::generation::Age;
use super::verdict::Moment;

/// One instance as it is seen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which start of it.
    pub incarnation: u64,
    /// Ready, or degraded.
    pub works: bool,
    /// How it compares with a start of it.
    pub age: Age,
    /// How long it may take to go and to come back.
    pub patience: Duration,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing now.
    Wait,
    /// Restart this one.
    Restart(String),
    /// All are replaced.
    Done,
    /// It goes no further.
    Stopped {
        /// With which instance.
        name: String,
        /// Why.
        why: String,
    },
}

/// A roll that is under way.
#[derive(Clone, Debug)]
pub struct Roll {
    waiting: VecDeque<String>,
    /// Who was told to go, as which incarnation, and until when it may take to come back.
    going: Option<(String, u64, Moment)>,
}

impl Roll {
    /// Of these, in this order.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { waiting: names.into_iter().collect(), going: None }
    }

    /// All were looked at.
    pub fn looked(&mut self, now: Moment, turn: impl Fn(&str) -> Option<Turn>) -> Next {
        if let Some((name, before, until)) = self.going.take() {
            match turn(&name).filter(|turn| turn.incarnation != before && turn.works) {
                Some(Turn { age: Age::Outdated(difference), .. }) => {
                    return Next::Stopped { name, why: format!("it was restarted and is outdated still: {difference}") };
                }
                Some(_) => {}
                None if now >= until => return Next::Stopped { name, why: "it did not come back in time".to_owned() },
                None => {
                    self.going = Some((name, before, until));
                    return Next::Wait;
                }
            }
        }
        while let Some(name) = self.waiting.pop_front() {
            let Some(Turn { incarnation, age: Age::Outdated(_), patience, .. }) = turn(&name) else { continue };
            self.going = Some((name.clone(), incarnation, now.saturating_add(patience)));
            return Next::Restart(name);
        }
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::generation::{Difference, Generation};

    const SECOND: Duration = Duration::from_secs(1);

    fn outdated() -> Age {
        Age::Outdated(Difference { build: true, configuration: false, wanted: Generation::default() })
    }

    fn turn(incarnation: u64, works: bool, age: Age) -> Turn {
        Turn { incarnation, works, age, patience: 10 * SECOND }
    }

    /// Looks once at these.
    fn look(roll: &mut Roll, seconds: u32, all: &[(&str, Turn)]) -> Next {
        let all: BTreeMap<&str, Turn> = all.iter().cloned().collect();
        roll.looked(seconds * SECOND, |name| all.get(name).cloned())
    }

    fn restart(name: &str) -> Next {
        Next::Restart(name.to_owned())
    }

    #[test]
    fn one_after_another_each_when_the_one_before_works() {
        let old = |incarnation| turn(incarnation, true, outdated());
        let mut roll = Roll::new(["storage", "engine", "gone", "mended", "chain"].map(str::to_owned));
        assert_eq!(look(&mut roll, 0, &[("storage", old(1)), ("engine", old(2))]), restart("storage"));
        // It drains, is away, starts, works.
        assert_eq!(look(&mut roll, 1, &[("storage", old(1)), ("engine", old(2))]), Next::Wait);
        assert_eq!(look(&mut roll, 2, &[("engine", old(2))]), Next::Wait);
        assert_eq!(look(&mut roll, 3, &[("storage", turn(9, false, Age::Current)), ("engine", old(2))]), Next::Wait);
        assert_eq!(look(&mut roll, 4, &[("storage", turn(9, true, Age::Current)), ("engine", old(2))]), restart("engine"));
        let mended = ("mended", turn(4, true, Age::Current));
        let back = [("engine", turn(8, true, Age::Unknown)), mended.clone(), ("chain", old(3))];
        assert_eq!(look(&mut roll, 5, &back), restart("chain"));
        assert_eq!(look(&mut roll, 6, &[("chain", turn(7, true, Age::Current))]), Next::Done);
    }

    #[test]
    fn it_ends_where_a_restart_does_not_help() {
        let stopped = |next: Next| match next {
            Next::Stopped { name, why } => format!("{name}: {why}"),
            other => format!("{other:?}"),
        };
        let begun = || {
            let mut roll = Roll::new(["storage", "engine"].map(str::to_owned));
            assert_eq!(look(&mut roll, 0, &[("storage", turn(1, true, outdated()))]), restart("storage"));
            roll
        };
        let engine = ("engine", turn(2, true, outdated()));
        let same = stopped(look(&mut begun(), 1, &[("storage", turn(9, true, outdated())), engine.clone()]));
        assert_eq!(same, "storage: it was restarted and is outdated still: build");
        let mut roll = begun();
        assert_eq!(look(&mut roll, 9, std::slice::from_ref(&engine)), Next::Wait);
        assert_eq!(stopped(look(&mut roll, 10, &[engine])), "storage: it did not come back in time");
        let broken = turn(1, true, Age::CannotStart("alys.toml: no such key".into()));
        assert_eq!(look(&mut Roll::new(["storage".to_owned()]), 0, &[("storage", broken)]), Next::Done, "it would not come back");
    }
}
