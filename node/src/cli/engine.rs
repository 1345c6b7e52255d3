//! `alys engine`: what an execution client in place of the embedded engine needs.

use alys_engine::core::geth::genesis_file;

use super::args::{Engine, Place};
use crate::failure::{OrFail as _, Outcome};
use crate::io::table::print;

/// `alys engine genesis`.
pub(super) fn run(place: &Place, command: &Engine) -> Outcome {
    let Engine::Genesis { to } = command;
    let spec = place.load_live()?.spec()?;
    let genesis = genesis_file(&spec).or_configuration("the chain specification")?;
    let mut text = serde_json::to_string_pretty(&genesis).or_bug("JSON")?;
    text.push('\n');
    match to {
        Some(file) => std::fs::write(file, text).or_temporary(format!("cannot write {}", file.display())),
        None => {
            print(&text);
            Ok(())
        }
    }
}
