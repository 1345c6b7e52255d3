//! `alys keys`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{Keys, Place};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{Output, json, print, table};
use crate::prepare::files;
use crate::prepare::keys::{Kind, Secret};

#[derive(Serialize)]
struct Shown {
    kind: String,
    public: String,
    file: PathBuf,
}

pub(super) fn run(place: &Place, command: &Keys) -> Outcome {
    match command {
        Keys::Generate { kind, out } => generate(*kind, out),
        Keys::Show { kind: Some(kind), file: Some(file), output } => show(&[shown(*kind, file)?], *output),
        Keys::Show { output, .. } => show(&all(&place.data_dir(false))?, *output),
    }
}

fn generate(kind: Kind, out: &Path) -> Outcome {
    let secret = Secret::generate(kind);
    if !files::secret(out, &secret.to_file()?)? {
        return Err(Failure::usage(format!("{} exists already; a key is never overwritten", out.display())));
    }
    show(&[shown(kind, out)?], Output::Table)
}

fn shown(kind: Kind, file: &Path) -> Outcome<Shown> {
    Ok(Shown { kind: kind.to_string(), public: Secret::read(kind, file)?.public()?, file: file.to_owned() })
}

/// The keys that `up --dev` makes: their names say what they are.
fn all(data_dir: &Path) -> Outcome<Vec<Shown>> {
    let folder = data_dir.join("keys");
    let entries = std::fs::read_dir(&folder)
        .or_configuration(format!("no keys in {}", folder.display()))
        .map_err(|failure| failure.help("`alys up --dev` makes those of a test chain, `alys keys generate` a single one"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut keys = Vec::new();
    let network = data_dir.join("network/p2p.key");
    if network.exists() {
        keys.push(shown(Kind::Network, &network)?);
    }
    for path in paths {
        let kind = match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            "validator.key" => Kind::Validator,
            "evm.key" => Kind::Evm,
            name if name.starts_with("governance-") && name.ends_with(".key") => Kind::Governance,
            _ => continue,
        };
        keys.push(shown(kind, &path)?);
    }
    Ok(keys)
}

fn show(keys: &[Shown], output: Output) -> Outcome {
    match output {
        Output::Json => json(&keys),
        Output::Table => {
            let row = |key: &Shown| vec![key.kind.clone(), key.public.clone(), key.file.display().to_string()];
            print(&table(&["kind", "public", "file"], &keys.iter().map(row).collect::<Vec<_>>()));
            Ok(())
        }
    }
}
