//! `alys role` and `alys governance`: one long-running process.

use alys_cluster::exit;
use alys_peg::Action;
use alys_supervisor::io::lifeline;

use super::args::{Governance, Place, RoleArgs, Wish};
use super::run_to_end;
use crate::config::Loaded;
use crate::failure::{Failure, OrFail as _, Outcome};
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
    if let Some(wish) = args.wish {
        return ask_for(&loaded, args.member, wish).map(|()| exit::DONE);
    }
    run_to_end(Box::pin(wiring::governance(&loaded, args.member)))?
}

/// Leaves the wish where the member's node looks for it.
fn ask_for(loaded: &Loaded, member: Option<u32>, wish: Wish) -> Outcome {
    let spec = loaded.spec()?;
    let settings = wiring::governance_config(&loaded.config, &spec, member)?;
    if !spec.federation.members.iter().any(|member| member.name == settings.name) {
        let said = "no member is configured here: give --member N, or set governance.name and governance.data_dir";
        return Err(Failure::usage(said));
    }
    let action = match wish {
        Wish::Pause => Action::PausePeg,
        Wish::Resume => Action::ResumePeg,
    };
    alys_governance::wish(&settings.data_dir, action).or_temporary("cannot write what the member wishes")?;
    let (needed, all) = (spec.federation.threshold, spec.federation.members.len());
    print(&format!(
        "{} will sign `{action}` while its node runs. The peg follows when {needed} of {all} members have: see `alys status`\n",
        settings.name
    ));
    Ok(())
}

fn arm(lifeline: bool) -> Outcome {
    if lifeline { lifeline::arm().or_temporary("cannot start a thread") } else { Ok(()) }
}
