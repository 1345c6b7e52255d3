//! `alys keys`.

use std::path::{Path, PathBuf};

use alys_proto::Role;
use serde::Serialize;

use super::args::{Keys, Place};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{Output, json, print, table};
use crate::prepare::files;
use crate::prepare::keys::{Kind, Secret};
use crate::prepare::tls::{Authority, mesh_names};

#[derive(Serialize)]
struct Shown {
    kind: String,
    public: String,
    file: PathBuf,
}

pub(super) fn run(place: &Place, command: &Keys) -> Outcome {
    match command {
        Keys::Generate { kind, out } => generate(*kind, out),
        Keys::MeshCert { roles, authority, out } => mesh_cert(roles, authority, out),
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

fn mesh_cert(roles: &[Role], authority: &Path, out: &Path) -> Outcome {
    if !authority.join("ca.key").exists() {
        let what = format!("there is no ca.key in {}", authority.display());
        return Err(
            Failure::configuration(what).help("`alys generate credentials` makes an authority, `alys up` one in <data>/tls")
        );
    }
    if out.join("mesh.pem").exists() || out.join("mesh.key").exists() {
        return Err(Failure::usage(format!("{} holds a certificate already; choose another folder", out.display())));
    }
    let mut made = Vec::new();
    let (names, name) = (mesh_names(roles), roles.iter().map(|role| role.name()).collect::<Vec<_>>().join("-"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Authority::open(authority, "alys", &mut made)?.write(out, "mesh", &name, &names, &mut made)?;
    for thing in made {
        print(&format!("{}  {}\n", thing.path.display(), thing.what));
    }
    Ok(())
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
