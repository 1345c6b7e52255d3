//! `alys generate`.

use std::path::{Path, PathBuf};

use super::args::Generate;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::generate::topology::{EXAMPLE, Topology};
use crate::generate::{Tree, credentials, kubernetes, systemd};
use crate::io::table::print;
use crate::prepare::files::Made;

pub(super) fn run(command: &Generate) -> Outcome {
    match command {
        Generate::Topology => {
            print(EXAMPLE);
            Ok(())
        }
        Generate::Systemd { topology, out } => write(&systemd::generate(&read(topology)?), out),
        Generate::Kubernetes { topology, out } => write(&kubernetes::generate(&read(topology)?), out),
        Generate::Credentials { topology, out } => {
            let (made, missing) = credentials::make(&one(topology)?, out)?;
            report(&made, &missing, out);
            Ok(())
        }
    }
}

fn read(files: &[PathBuf]) -> Outcome<Vec<Topology>> {
    let topologies = files.iter().map(|file| one(file)).collect::<Outcome<Vec<_>>>()?;
    for (position, topology) in topologies.iter().enumerate() {
        if topologies.iter().skip(position.saturating_add(1)).any(|other| other.name == topology.name) {
            return Err(Failure::usage(format!("two topologies have the name {}", topology.name)));
        }
    }
    Ok(topologies)
}

fn one(file: &Path) -> Outcome<Topology> {
    let text = std::fs::read_to_string(file)
        .or_configuration(format!("cannot read the topology {}", file.display()))
        .map_err(|failure| failure.help("`alys generate topology` prints a commented one"))?;
    Topology::parse(&text).map_err(|failure| Failure { report: failure.report.wrap_err(file.display().to_string()), ..failure })
}

fn write(tree: &Tree, out: &Path) -> Outcome {
    tree.write(out)?;
    for (path, _) in tree.files() {
        print(&format!("{}\n", out.join(path).display()));
    }
    Ok(())
}

fn report(made: &[Made], missing: &[PathBuf], out: &Path) {
    for thing in made {
        print(&format!("{}  {}\n", thing.path.display(), thing.what));
    }
    for path in missing {
        print(&format!("{}  missing: put yours there, readable by you alone\n", path.display()));
    }
    print(&format!("\nKeep {} off the hosts and in a backup: whoever has it can add roles.\n", out.join("authority").display()));
}
