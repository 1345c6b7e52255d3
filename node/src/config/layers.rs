//! Layers of configuration: flags > environment > file > defaults. Each value remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The merged table. Paths are dotted: `engine.rpc_listen`.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Starts from the defaults.
    pub fn new(defaults: Table) -> Self {
        Self { table: defaults, origins: BTreeMap::new() }
    }

    /// The merged values.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The merged values, to be changed without a new origin.
    pub fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// Where the value at a path came from: its own origin or that of the table above it.
    pub fn origin(&self, path: &str) -> &Origin {
        let mut prefix = path;
        loop {
            if let Some(origin) = self.origins.get(prefix) {
                return origin;
            }
            match prefix.rsplit_once('.') {
                Some((above, _)) => prefix = above,
                None => return &Origin::Default,
            }
        }
    }

    /// Lays a table on top, value by value.
    pub fn merge(&mut self, layer: Table, origin: &Origin) {
        merge(&mut self.table, layer, "", &mut |path| {
            self.origins.insert(path, origin.clone());
        });
    }

    /// Lays one value on top, written as text. It takes the type of the value below it; where there is none it is read
    /// as TOML if it can be and as a string otherwise.
    pub fn set(&mut self, path: &str, text: &str, origin: Origin) {
        let value = match self.get(path) {
            Some(Value::String(_)) => Value::String(text.to_owned()),
            _ => parse(text),
        };
        let mut layer = value;
        for key in path.rsplit('.') {
            layer = Value::Table(Table::from_iter([(key.to_owned(), layer)]));
        }
        if let Value::Table(layer) = layer {
            self.merge(layer, &origin);
        }
    }

    /// The value at a path.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let mut value = self.table.get(first)?;
        for key in rest.into_iter().flat_map(|rest| rest.split('.')) {
            value = value.as_table()?.get(key)?;
        }
        Some(value)
    }

    /// Every single value with its path, in order.
    pub fn leaves(&self) -> Vec<(String, Value)> {
        let mut leaves = Vec::new();
        collect(&self.table, "", &mut leaves);
        leaves
    }
}

/// The path that an environment variable sets: `ALYS_ENGINE__RPC_LISTEN` sets `engine.rpc_listen`. Others are not ours.
pub fn environment_path(name: &str) -> Option<String> {
    let path = name.strip_prefix("ALYS_")?;
    path.contains("__").then(|| path.to_ascii_lowercase().replace("__", "."))
}

fn merge(below: &mut Table, layer: Table, prefix: &str, set: &mut dyn FnMut(String)) {
    for (key, value) in layer {
        let path = join(prefix, &key);
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above, &path, set),
            (_, value) => {
                below.insert(key, value);
                set(path);
            }
        }
    }
}

fn collect(table: &Table, prefix: &str, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = join(prefix, key);
        match value {
            Value::Table(inner) if !inner.is_empty() => collect(inner, &path, leaves),
            other => leaves.push((path, other.clone())),
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

fn parse(text: &str) -> Value {
    let read: Option<Value> = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| {
        // A line break in the text could smuggle in further keys.
        if table.len() == 1 { table.remove("value") } else { None }
    });
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_layer_covers_the_one_below_and_nothing_else() {
        let mut layers = Layers::new(table("[engine]\nlisten = 'a'\ncache = 1\nblocks = 7"));
        layers.merge(table("[engine]\nlisten = 'b'\ncache = 2"), &Origin::File("alys.toml".into()));
        layers.set("engine.cache", "3", Origin::Environment("ALYS_ENGINE__CACHE".into()));
        layers.set("engine.listen", "127.0.0.1:1", Origin::Flag("--eth-port".into()));
        let shown: Vec<String> =
            layers.leaves().iter().map(|(path, value)| format!("{path}={value} {}", layers.origin(path))).collect();
        assert_eq!(
            shown,
            [
                "engine.blocks=7 default",
                "engine.cache=3 environment ALYS_ENGINE__CACHE",
                "engine.listen=\"127.0.0.1:1\" flag --eth-port",
            ]
        );
    }

    #[test]
    fn text_takes_the_type_below_it() {
        let mut layers = Layers::new(table("name = 'x'\nport = 1\non = false"));
        let set = |layers: &mut Layers, path: &str, text: &str| layers.set(path, text, Origin::Flag("--set".into()));
        set(&mut layers, "name", "123");
        set(&mut layers, "port", "8545");
        set(&mut layers, "on", "true");
        set(&mut layers, "new.url", "http://h:1");
        set(&mut layers, "new.list", "['a', 'b']");
        assert_eq!(layers.table(), &table("name = '123'\nport = 8545\non = true\n[new]\nurl = 'http://h:1'\nlist = ['a', 'b']"));
    }

    #[test]
    fn only_doubled_underscores_are_paths() {
        assert_eq!(environment_path("ALYS_ENGINE__RPC_LISTEN").as_deref(), Some("engine.rpc_listen"));
        assert_eq!(environment_path("ALYS_BRIDGE__BITCOIND__URL").as_deref(), Some("bridge.bitcoind.url"));
        assert_eq!(environment_path("ALYS_DATA_DIR"), None);
        assert_eq!(environment_path("PATH__X"), None);
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_value(text in ".*") {
            let mut layers = Layers::default();
            layers.set("a.b", &text, Origin::Default);
            prop_assert_eq!(layers.table().len(), 1);
            prop_assert_eq!(layers.get("a").and_then(Value::as_table).map(Table::len), Some(1));
        }
    }
}
