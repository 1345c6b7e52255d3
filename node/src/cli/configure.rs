//! `alys config`.

use super::args::{Config, Place};
use crate::config::show::settings;
use crate::config::{Loaded, paths};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{Output, json, print, table};
use crate::prepare::files::read_secret;
use crate::wiring::governance_config;

pub(super) fn run(place: &Place, command: &Config) -> Outcome {
    let loaded = place.load_live()?;
    match command {
        Config::Show { origin, output } => show(&loaded, *origin, *output),
        Config::Check => check(&loaded),
    }
}

fn show(loaded: &Loaded, origin: bool, output: Output) -> Outcome {
    let settings = settings(&loaded.layers);
    match output {
        Output::Json => json(&settings)?,
        Output::Table if origin => {
            let rows: Vec<Vec<String>> =
                settings.into_iter().map(|setting| vec![setting.key, setting.value.to_string(), setting.origin]).collect();
            print(&table(&["setting", "value", "origin"], &rows));
        }
        Output::Table => {
            for setting in settings {
                print(&format!("{} = {}\n", setting.key, setting.value));
            }
        }
    }
    Ok(())
}

/// Everything that can be checked without starting a role.
fn check(loaded: &Loaded) -> Outcome {
    let config = &loaded.config;
    let spec = loaded.spec()?;
    alys_peg::federation::Federation::try_from(spec.as_ref()).or_configuration("the federation of the chain specification")?;
    config.bridge.check().map_err(Failure::configuration)?;
    secrets(loaded)?;
    print(&format!("{} is in order: chain {} (chain id {})\n", loaded.file.display(), spec.name, spec.chain_id));
    Ok(())
}

/// Every file that a setting or a local governance node needs is there, and secret where it must be.
pub(super) fn secrets(loaded: &Loaded) -> Outcome {
    let spec = loaded.spec()?;
    let mut problems = Vec::new();
    for member in 1..=loaded.config.local.governance {
        let settings = governance_config(&loaded.config, &spec, Some(member))?;
        for path in [settings.key_file, settings.tls.key] {
            problems.extend(read_secret(&path).err().map(|failure| explained(&settings.name, &failure)));
        }
    }
    for (key, value) in loaded.layers.leaves() {
        let (table, name) = key.rsplit_once('.').map_or(("", key.as_str()), |(table, name)| (table, name));
        let table = table.rsplit('.').next().unwrap_or_default();
        let Some(path) = value.as_str().filter(|text| !text.is_empty() && paths::is_path(table, name)) else { continue };
        let path = std::path::Path::new(path);
        let secret = name == "key"
            || name.ends_with("_key")
            || name.ends_with("key_file")
            || name == "cookie_file" && key.starts_with("cluster.");
        // bitcoind may be away; its cookie with it. The audit is made when there is something to write down.
        let may_come = ["bitcoind.cookie_file", "bitcoin.cookie_file", "debug.audit_file"];
        let must_exist = !name.ends_with("_dir") && !may_come.iter().any(|ending| key.ends_with(ending));
        if must_exist && !path.exists() {
            problems.push(format!("{key}: {} does not exist", path.display()));
        } else if secret && let Err(failure) = read_secret(path) {
            problems.push(explained(&key, &failure));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::configuration(problems.join("\n       ")).help("`alys up --dev` makes what a test chain needs"))
}

fn explained(what: &str, failure: &Failure) -> String {
    let help = failure.help.as_deref().map(|help| format!(": {help}")).unwrap_or_default();
    format!("{what}: {:#}{help}", failure.report)
}
