//! Messages as people see them: by the names of the `.proto` files, bytes as hexadecimal digits, secrets by their size only.
//!
//! | field | shown as |
//! |---|---|
//! | marked `(alys.secret)` in its `.proto` | `(redacted, 64 bytes)`, whatever it holds |
//! | `txid` and `…_txid` of 32 bytes | the way Bitcoin's tools write ids: reversed |
//! | other bytes | hexadecimal, the first 32 and how many there are |
//! | message | `name{…}`, what is absent or zero left out |
//! | list | `[…]`, the first 8 and how many there are |

use std::fmt::Write as _;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, Value};

/// Characters of a described message: a block's bytes help nobody in a terminal.
const LONGEST: usize = 2_000;
/// Bytes of one field that are shown.
const MOST_BYTES: usize = 32;
/// Items of one list that are shown.
const MOST_ITEMS: usize = 8;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice();
    let pool = DescriptorPool::decode(bytes).expect("build.rs wrote it");
    let secret = pool.get_extension_by_name("alys.secret").expect("options.proto declares it");
    Schema { pool, secret }
});

struct Schema {
    pool: DescriptorPool,
    secret: ExtensionDescriptor,
}

/// A message of the given full name (`alys.storage.CommitBlock`) as text.
pub fn text(message: &str, body: &[u8]) -> String {
    let Some(descriptor) = SCHEMA.pool.get_message_by_name(message) else { return format!("unknown message {message}") };
    match DynamicMessage::decode(descriptor, body) {
        Ok(decoded) => {
            let mut out = String::new();
            fields(&decoded, &mut out);
            cut(out)
        }
        Err(cause) => format!("malformed: {cause}"),
    }
}

/// A message to a service (a role's name, or `cluster` for the inspector) as text.
pub fn message_to(service: &str, method: &str, body: &[u8]) -> String {
    let package = format!("alys.{service}");
    let found = SCHEMA.pool.services().find(|known| known.package_name() == package);
    let found = found.and_then(|known| known.methods().find(|known| known.name() == method));
    match found {
        Some(method) => text(method.input().full_name(), body),
        None => format!("unknown message {service}.{method}"),
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn fields(message: &DynamicMessage, out: &mut String) {
    let mut first = true;
    for (field, value) in message.fields() {
        if !first {
            out.push(' ');
        }
        first = false;
        out.push_str(field.name());
        if is_secret(&field) {
            redacted(value, out);
        } else {
            if !matches!(value, Value::Message(_)) {
                out.push('=');
            }
            show(&field, value, out);
        }
    }
}

fn is_secret(field: &FieldDescriptor) -> bool {
    matches!(field.options().get_extension(&SCHEMA.secret).as_ref(), Value::Bool(true))
}

fn redacted(value: &Value, out: &mut String) {
    let bytes = match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        _ => 0,
    };
    // Writing to a string cannot fail.
    let _written = write!(out, "=(redacted, {bytes} {})", if matches!(value, Value::List(_)) { "items" } else { "bytes" });
}

fn show(field: &FieldDescriptor, value: &Value, out: &mut String) {
    match value {
        Value::Message(message) => {
            out.push('{');
            fields(message, out);
            out.push('}');
        }
        Value::List(items) => {
            out.push('[');
            for (position, item) in items.iter().take(MOST_ITEMS).enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                show(field, item, out);
            }
            if items.len() > MOST_ITEMS {
                let _written = write!(out, ", … {} items", items.len());
            }
            out.push(']');
        }
        Value::Bytes(bytes) => hexadecimal(field.name(), bytes, out),
        Value::String(text) => {
            let _written = write!(out, "{text:?}");
        }
        Value::EnumNumber(number) => {
            let named = field.kind().as_enum().and_then(|kind: &EnumDescriptor| kind.get_value(*number));
            match named {
                Some(named) => out.push_str(named.name()),
                None => {
                    let _written = write!(out, "{number}");
                }
            }
        }
        other => {
            let _written = write!(out, "{other}");
        }
    }
}

fn hexadecimal(name: &str, bytes: &[u8], out: &mut String) {
    if bytes.len() == 32 && (name == "txid" || name.ends_with("_txid")) {
        out.push_str(&hex::encode(bytes.iter().rev().copied().collect::<Vec<u8>>()));
        return;
    }
    out.push_str(&hex::encode(bytes.get(..MOST_BYTES).unwrap_or(bytes)));
    if bytes.len() > MOST_BYTES {
        let _written = write!(out, "… {} bytes", bytes.len());
    }
}

/// Every field of every message that is marked secret, as `alys.bridge.InputSignature.signature`.
pub fn secrets() -> Vec<String> {
    let is_opaque = |kind: &Kind| matches!(kind, Kind::Bytes | Kind::String);
    let mut found: Vec<String> = SCHEMA
        .pool
        .all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| is_secret(field) && is_opaque(&field.kind()))
        .map(|field| field.full_name().to_owned())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{Inbox as _, bridge, common, storage};

    #[test]
    fn secrets_are_shown_by_their_size_only() {
        let signature = bridge::InputSignature { input: 1, public_key: vec![2; 32], signature: vec![0xee; 64] };
        let message =
            bridge::FederationSignatures { member: "governance-1".into(), payout_txid: vec![], signatures: vec![signature] };
        let shown = bridge::Inbox::describe("FederationSignatures", &message.encode_to_vec());
        assert!(shown.contains("signature=(redacted, 64 bytes)") && !shown.contains("eeee"), "{shown}");
        assert!(shown.starts_with("member=\"governance-1\" signatures=[{input=1 public_key=0202"), "{shown}");
        assert_eq!(
            secrets(),
            [
                "alys.bridge.InputSignature.signature",
                "alys.cluster.Passed.whole",
                "alys.storage.DeadLetter.body",
                "alys.storage.Document.value",
                "alys.stream.RequestFederationSignatures.psbt"
            ]
        );
    }

    #[test]
    fn ids_are_written_as_people_know_them_and_long_fields_are_cut() {
        let outpoint = common::OutPoint { txid: (0..32).collect(), vout: 3 };
        let shown = text("alys.common.OutPoint", &outpoint.encode_to_vec());
        assert!(shown.starts_with("txid=1f1e1d") && shown.ends_with(" vout=3"), "{shown}");
        let block = common::CommittedBlock { height: 7, block: vec![0xab; 1_000], ..Default::default() };
        let message = storage::CommitBlock { block: Some(block), ..Default::default() };
        let shown = storage::Inbox::describe("CommitBlock", &message.encode_to_vec());
        assert!(shown.starts_with("block{height=7 block=abab") && shown.ends_with("… 1000 bytes}"), "{shown}");
    }

    #[test]
    fn a_message_is_known_by_its_service_and_name() {
        let seen = bridge::BitcoinTransactionSeen { txid: vec![7] };
        assert_eq!(message_to("bridge", "BitcoinTransactionSeen", &seen.encode_to_vec()), "txid=07");
        assert_eq!(message_to("cluster", "Observe", &[]), "");
        assert_eq!(message_to("bridge", "Observe", &[]), "unknown message bridge.Observe");
        assert_eq!(message_to("nobody", "Observe", &[]), "unknown message nobody.Observe");
    }

    #[test]
    fn what_does_not_decode_says_so_and_nothing_is_endless() {
        assert!(text("alys.common.OutPoint", &[0xff]).starts_with("malformed"));
        assert!(text("alys.common.Nothing", &[]).starts_with("unknown"));
        let long = storage::GetDocuments { owner: "x".repeat(10_000), prefix: String::new() };
        assert_eq!(storage::Inbox::describe("GetDocuments", &long.encode_to_vec()).chars().count(), LONGEST + 1);
    }
}
