//! The configuration as people may see it: secrets redacted.

use serde::{Deserialize, Serialize};
use toml::Value;

use super::layers::Layers;

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Dotted path.
    pub key: String,
    /// Its value, redacted.
    pub value: Value,
    /// Where it came from.
    pub origin: String,
}

/// Every setting in order.
pub fn settings(layers: &Layers) -> Vec<Setting> {
    layers
        .leaves()
        .into_iter()
        .map(|(key, value)| {
            let origin = layers.origin(&key).to_string();
            Setting { value: redact(&key, value), key, origin }
        })
        .collect()
}

/// Hides what must not reach a terminal: values of secret keys, and user and password of URLs.
pub fn redact(key: &str, value: Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or(key);
    let secret = ["password", "secret", "token", "cookie"].iter().any(|word| name.contains(word));
    match value {
        Value::String(text) if secret && !name.ends_with("_file") && !text.is_empty() => Value::String("(redacted)".into()),
        Value::String(text) => Value::String(without_credentials(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| redact(key, item)).collect()),
        other => other,
    }
}

fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    match authority.rsplit_once('@') {
        Some((_, host)) => {
            let path = path.map(|path| format!("/{path}")).unwrap_or_default();
            format!("{scheme}://(redacted)@{host}{path}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_show() {
        let shown = |key: &str, text: &str| redact(key, Value::String(text.into())).as_str().map(str::to_owned);
        let table = [
            ("governance.bitcoin.password", "hunter2", "(redacted)"),
            ("bridge.bitcoind.password_file", "/etc/p", "/etc/p"),
            ("cluster.cookie_file", "/data/cookie", "/data/cookie"),
            ("bridge.bitcoind.url", "http://u:p@w@host:1/x", "http://(redacted)@host:1/x"),
            ("bridge.bitcoind.url", "http://host:1", "http://host:1"),
        ];
        for (key, text, expected) in table {
            assert_eq!(shown(key, text).as_deref(), Some(expected), "{key}");
        }
    }
}
