//! What `alys up` shows people while it runs: one line per change, on standard output (the log is on standard error).

use std::io::Write;
use std::time::Duration;

use crate::core::effect::Report;
use crate::core::exit::Ending;

/// The terminal of `alys up`, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Console {
    /// Print changes.
    pub enabled: bool,
    /// Print also what the children print.
    pub verbose: bool,
    /// Printed once when all are ready.
    pub banner: String,
}

impl Console {
    /// Shows a change. Times count from the supervisor's start.
    pub fn report(&self, now: Duration, report: &Report) {
        let text = match report {
            Report::Ready(name) => format!("{name} is ready"),
            Report::AllReady => {
                self.line(now, "all processes are ready");
                self.raw(&self.banner);
                return;
            }
            Report::Restarting { name, why, after } => {
                format!("{name} ended ({why}); starting it again in {} ms", after.as_millis())
            }
            Report::Drained(name) => format!("{name} is drained and stays stopped until `alys resume {name}`"),
            Report::Missing { name, owner } => format!("{name} is missing: {owner} has not started it in time"),
            Report::Helpless { name, reason } => format!("{name} cannot be helped from here: {reason}"),
            Report::Stopped(name) => format!("{name} has stopped"),
            Report::Quarantined { name, ending } => {
                format!("{name} is quarantined ({ending}); `alys resume {name}` tries it again{}", hint(*ending))
            }
        };
        self.line(now, &text);
    }

    /// Shows one line with the time since the start.
    pub fn line(&self, now: Duration, text: &str) {
        self.raw(&format!("{:>7.2}s  {text}", now.as_secs_f64()));
    }

    fn raw(&self, text: &str) {
        if self.enabled && !text.is_empty() {
            // A closed terminal is no reason to stop.
            let mut terminal = std::io::stdout().lock();
            let _ = writeln!(terminal, "{text}").and_then(|()| terminal.flush());
        }
    }
}

fn hint(ending: Ending) -> &'static str {
    match ending {
        Ending::Code(crate::core::exit::CONFIGURATION | crate::core::exit::USAGE) => " after its configuration is corrected",
        _ => "; its log says what happened",
    }
}
