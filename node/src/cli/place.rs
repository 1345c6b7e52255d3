//! Where the node lives.

use std::path::{Path, PathBuf};

use super::args::Place;
use crate::config::{Loaded, Override, load};
use crate::failure::Outcome;
use crate::io::live;

const FILE: &str = "alys.toml";
const NEAR: &str = ".run";

impl Place {
    /// The data directory: `--data-dir`, else the folder of `--config`, else `./.run` when it holds a node (or one is
    /// to be made), else `~/.alys`.
    pub(crate) fn data_dir(&self, to_be_made: bool) -> PathBuf {
        if let Some(given) = &self.data_dir {
            return given.clone();
        }
        if let Some(folder) = self.config.as_deref().and_then(Path::parent) {
            return folder.to_owned();
        }
        let home = std::env::home_dir().map(|home| home.join(".alys"));
        match home {
            Some(home) if !to_be_made && !Path::new(NEAR).join(FILE).exists() => home,
            _ => PathBuf::from(NEAR),
        }
    }

    /// The configuration file.
    pub(crate) fn file(&self, to_be_made: bool) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.data_dir(to_be_made).join(FILE))
    }

    /// What flags override.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        self.set.iter().map(|(path, text)| Override::new(path, text, "--set")).collect()
    }

    /// Loads the configuration of a process that is to run.
    pub(crate) fn load(&self) -> Outcome<Loaded> {
        load(&self.file(false), &self.overrides())
    }

    /// Loads the configuration as the running node has it, for commands that talk to it.
    pub(crate) fn load_live(&self) -> Outcome<Loaded> {
        let data_dir = self.load()?.config.data_dir;
        let mut overrides = live::flags(&data_dir);
        overrides.extend(self.overrides());
        load(&self.file(false), &overrides)
    }
}
