//! `alys role` and `alys governance`: one long-running process.

use alys_supervisor::io::lifeline;

use super::args::{Governance, Place, RoleArgs};
use super::run_to_end;
use crate::failure::{OrFail as _, Outcome};
use crate::io::table::print;
use crate::wiring::{self, Launch};

pub(super) fn run(place: &Place, args: &RoleArgs) -> Outcome<u8> {
    arm(args.lifeline)?;
    let mut loaded = place.load()?;
    loaded.config.cluster.debug.replay = args.replay.clone();
    let launch = Launch {
        role: args.role,
        instance: args.instance.clone().unwrap_or_else(|| args.role.name().to_owned()),
        loaded,
        overrides: place.overrides(),
        up: args.up,
        verbose: args.verbose,
    };
    let ended = run_to_end(Box::pin(wiring::role(launch)))?;
    if let (true, Err(failure)) = (args.up && !args.verbose, &ended) {
        // Standard error is the supervisor's log file there.
        print(&format!("{failure}\n"));
    }
    ended
}

pub(super) fn governance(place: &Place, args: &Governance) -> Outcome<u8> {
    arm(args.lifeline)?;
    let loaded = place.load()?;
    run_to_end(Box::pin(wiring::governance(&loaded, args.member)))?
}

fn arm(lifeline: bool) -> Outcome {
    if lifeline { lifeline::arm().or_temporary("cannot start a thread") } else { Ok(()) }
}
