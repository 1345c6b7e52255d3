//! For a section with 128-bit integers, which TOML does not have: it passes through JSON values, which do.
//! Values above 63 bits cannot be written in the file; no sensible setting needs them.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub(super) fn serialize<T: Serialize, S: Serializer>(section: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(section).map_err(S::Error::custom)?;
    without_nulls(&mut value);
    value.serialize(serializer)
}

pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    serde_json::from_value(value).map_err(D::Error::custom)
}

/// TOML leaves out what is not there.
fn without_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(without_nulls);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        wide: u128,
        absent: Option<u32>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        #[serde(with = "super")]
        inner: Inner,
    }

    #[test]
    fn wide_integers_and_absent_values_survive_toml() {
        let outer = Outer { inner: Inner { wide: 7, absent: None } };
        let table = toml::Table::try_from(&outer).unwrap();
        assert_eq!(table.clone().try_into::<Outer>().unwrap(), outer);
        assert_eq!(toml::from_str::<Outer>(&toml::to_string(&table).unwrap()).unwrap(), outer);
    }
}
