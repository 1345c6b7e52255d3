//! Whom this process waits for: every question of ours that has no answer yet, told apart by whether the handler itself
//! waits (then the mailbox waits with it) or a task of the role.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alys_proto::cluster::Wait;

/// Questions that are shown at once, about 64 KiB. One more is asked all the same, but not shown.
const MOST_SHOWN: usize = 1_000;

/// Questions of tasks that no handler waits for. One role a process, as `pg` and the registries have it.
static OF_TASKS: LazyLock<Waits> = LazyLock::new(Waits::default);

/// Open questions.
#[derive(Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    questions: BTreeMap<u64, Question>,
}

struct Question {
    service: &'static str,
    name: &'static str,
    since: Instant,
}

/// Takes its question off the list when it ends, also when it is cancelled.
pub(crate) struct TaskWaiting(Option<(Waits, u64)>);

impl Drop for TaskWaiting {
    fn drop(&mut self) {
        if let Some((waits, number)) = &self.0 {
            waits.lock().questions.remove(number);
        }
    }
}

impl Waits {
    /// Those of tasks.
    pub(crate) fn of_tasks() -> Self {
        OF_TASKS.clone()
    }

    /// Records that somebody waits from now on.
    pub(crate) fn begin(&self, service: &'static str, name: &'static str) -> TaskWaiting {
        let mut open = self.lock();
        if open.questions.len() >= MOST_SHOWN {
            return TaskWaiting(None);
        }
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        open.questions.insert(number, Question { service, name, since: Instant::now() });
        TaskWaiting(Some((self.clone(), number)))
    }

    /// What is waited for, oldest first.
    pub(crate) fn list(&self) -> Vec<Wait> {
        let show = |question: &Question| wait(question.service, question.name, question.since, false);
        self.lock().questions.values().map(show).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a handler awaits: `storage.CommitBlock`, or words of the role's own.
pub(super) fn of_handler(what: &str, since: Instant) -> Wait {
    let (service, name) = what.split_once('.').unwrap_or(("", what));
    wait(service, name, since, true)
}

fn wait(service: &str, name: &str, since: Instant, holds_mailbox: bool) -> Wait {
    let age_millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    Wait { service: service.into(), name: name.into(), age_millis, holds_mailbox }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_at_the_same_time_are_all_shown_until_each_ends() {
        let waits = Waits::default();
        let first = waits.begin("storage", "CommitBlock");
        let second = waits.begin("engine", "GetHead");
        let names = || waits.list().into_iter().map(|wait| wait.name).collect::<Vec<_>>();
        assert_eq!(names(), ["CommitBlock", "GetHead"]);
        drop(first);
        assert_eq!(names(), ["GetHead"]);
        assert!(waits.list().iter().all(|wait| !wait.holds_mailbox && wait.service == "engine"));
        drop(second);
        assert!(names().is_empty());
    }

    #[test]
    fn a_handler_waits_for_a_role_or_for_something_of_its_own() {
        let role = of_handler("storage.CommitBlock", Instant::now());
        assert_eq!((role.service.as_str(), role.name.as_str(), role.holds_mailbox), ("storage", "CommitBlock", true));
        let own = of_handler("a block of EVM work", Instant::now());
        assert_eq!((own.service.as_str(), own.name.as_str()), ("", "a block of EVM work"));
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let waits = Waits::default();
        let held: Vec<TaskWaiting> = (0..MOST_SHOWN + 5).map(|_| waits.begin("storage", "GetHead")).collect();
        assert_eq!(waits.list().len(), MOST_SHOWN);
        drop(held);
        assert!(waits.list().is_empty());
    }
}
