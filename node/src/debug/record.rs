//! `alys debug record`: what a mailbox receives, whole, to replay it. Signatures are among it, so the file is for its owner
//! only, and taking it is audited.

use std::os::unix::fs::OpenOptionsExt as _;

use alys_cluster::recording::{Recorded, Recording, write_line};
use alys_proto::cluster::{Passage, TapBodies, TapFilter, TapOpen};

use super::source::Live;
use super::{args, control, tap};
use crate::cli::args::Place;
use crate::failure::{OrFail as _, Outcome};
use crate::io::table::print;

/// The highest rate that a tap has.
const RATE: u32 = 5_000;

pub(super) async fn run(place: &Place, args: &args::Record) -> Outcome {
    let live = Live::join(place).await?;
    let known = live.cluster.instances();
    let names: Vec<&str> = known.iter().map(|known| known.identity.instance.as_str()).collect();
    let found = known.iter().find(|known| known.identity.instance == args.instance);
    let role = found.ok_or_else(|| super::source::unknown(&args.instance, &names))?.identity.role;

    let doing = || format!("cannot write {}", args.out.display());
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&args.out);
    let mut file =
        file.or_configuration(doing()).map_err(|failure| failure.help("name a new file in a folder that you may write to"))?;
    write_line(&mut file, &Recording::begin(role, &args.instance)).or_configuration(doing())?;

    let filter = TapFilter { name: args.name.clone().unwrap_or_default(), ..TapFilter::default() };
    let asked = TapOpen { filter: Some(filter), rate: RATE, bodies: TapBodies::Whole.into(), who: control::who() };
    let (mut kept, mut failed) = (0usize, None);
    let missed = tap::follow(&live, &args.instance, &asked, args.lasting, |batch| {
        for passed in batch.passed.iter().filter(|passed| passed.passage() == Passage::Arrived) {
            if args.count.is_some_and(|count| kept >= count) {
                return false;
            }
            if let Err(cause) = write_line(&mut file, &Recorded::of(passed)) {
                failed = Some(cause);
                return false;
            }
            kept = kept.saturating_add(1);
        }
        args.count.is_none_or(|count| kept < count)
    })
    .await?;
    if let Some(cause) = failed {
        return Err(cause).or_configuration(doing());
    }
    print(&format!("{}: {kept} messages of {}; `alys debug replay` runs them again\n", args.out.display(), args.instance));
    if missed > 0 {
        eprintln!("{missed} more passed too fast and are not in it");
    }
    Ok(())
}
