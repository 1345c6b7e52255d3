//! N and N+1 run side by side during a rolling upgrade, so the messages of the last release stay readable, both ways.
//! `proto/released/descriptors.bin` holds the schema of that release; `make release-schema` writes it anew.
//!
//! | of the released schema | now |
//! |---|---|
//! | message | is there |
//! | field | is there: same number, name, type, cardinality, oneof |
//! | value of an enum | is there: same number, same name |
//! | method of a service | is there: asks or tells the same, in the same way |
//!
//! New messages, fields, values and methods are fine: the other side ignores the field, and refuses the method by its name.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod sample;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use alys_proto::wire::ReplyPort;
use alys_proto::{Inbox, Message, Refused, bridge, chain, cluster, engine, network, storage, stream, supervisor, sync};
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use sample::{alternatives, filled, known};

/// Where every schema of ours begins: what Google's files say is not ours to keep.
const OURS: &str = "alys.";

fn now() -> DescriptorPool {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice()).unwrap()
}

fn released_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("released/descriptors.bin")
}

fn released() -> DescriptorPool {
    let bytes = std::fs::read(released_file()).expect("`make release-schema` writes it");
    DescriptorPool::decode(bytes.as_slice()).unwrap()
}

/// What a message of `before` would no longer say under `now`.
fn breaks(before: &DescriptorPool, now: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for message in before.all_messages().filter(|message| message.full_name().starts_with(OURS)) {
        match now.get_message_by_name(message.full_name()) {
            Some(here) => breaks_of_message(&message, &here, &mut found),
            None => found.push(format!("message {} is gone", message.full_name())),
        }
    }
    for kind in before.all_enums().filter(|kind| kind.full_name().starts_with(OURS)) {
        match now.get_enum_by_name(kind.full_name()) {
            Some(here) => breaks_of_enum(&kind, &here, &mut found),
            None => found.push(format!("enum {} is gone", kind.full_name())),
        }
    }
    for service in before.services().filter(|service| service.full_name().starts_with(OURS)) {
        match now.get_service_by_name(service.full_name()) {
            Some(here) => breaks_of_service(&service, &here, &mut found),
            None => found.push(format!("service {} is gone", service.full_name())),
        }
    }
    found
}

fn breaks_of_message(before: &MessageDescriptor, now: &MessageDescriptor, found: &mut Vec<String>) {
    for field in before.fields() {
        let (was, name) = (shape(&field), field.full_name().to_owned());
        match now.get_field(field.number()) {
            Some(here) if shape(&here) == was => {}
            Some(here) => found.push(format!("field {name}: {was} became {}", shape(&here))),
            None => found.push(format!("field {name} is gone")),
        }
    }
}

/// All of a field that the bytes depend on, and its name, by which people and JSON know it.
fn shape(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(kind) => kind.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned());
    format!("{:?} {kind} {} = {}, oneof {oneof:?}", field.cardinality(), field.name(), field.number())
}

fn breaks_of_enum(before: &EnumDescriptor, now: &EnumDescriptor, found: &mut Vec<String>) {
    for value in before.values() {
        let here = now.get_value(value.number()).map(|here| here.name().to_owned());
        if here.as_deref() != Some(value.name()) {
            found.push(format!("value {} = {} is now {here:?}", value.full_name(), value.number()));
        }
    }
}

fn breaks_of_service(before: &ServiceDescriptor, now: &ServiceDescriptor, found: &mut Vec<String>) {
    let says = |service: &ServiceDescriptor, name: &str| {
        let method = service.methods().find(|method| method.name() == name)?;
        let streams = (method.is_client_streaming(), method.is_server_streaming());
        Some((method.input().full_name().to_owned(), method.output().full_name().to_owned(), streams))
    };
    for method in before.methods() {
        if says(before, method.name()) != says(now, method.name()) {
            found.push(format!("method {} is now {:?}", method.full_name(), says(now, method.name())));
        }
    }
}

/// With `ALYS_RELEASE_SCHEMA=FOLDER` it writes down the schema of the .proto files in that folder first.
#[test]
fn everything_that_was_released_is_still_there() {
    if let Some(folder) = std::env::var_os("ALYS_RELEASE_SCHEMA") {
        let folder = PathBuf::from(folder);
        let entries = std::fs::read_dir(folder.join("alys")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let compiled =
            protox::Compiler::new([&folder]).unwrap().include_imports(true).open_files(files).unwrap().descriptor_pool();
        std::fs::create_dir_all(released_file().parent().unwrap()).unwrap();
        std::fs::write(released_file(), compiled.encode_to_vec()).unwrap();
    }
    let broken = breaks(&released(), &now());
    assert!(broken.is_empty(), "a node of the last release would misread or miss:\n{}", broken.join("\n"));
    assert!(released().services().count() >= 10, "the whole schema is compared");
}

/// The schema as it would be, had the last release had something more, or something else.
fn changed(change: impl FnOnce(&mut [FileDescriptorProto])) -> DescriptorPool {
    let mut file: Vec<FileDescriptorProto> = now().file_descriptor_protos().cloned().collect();
    change(&mut file);
    DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file }).unwrap()
}

fn package<'a>(files: &'a mut [FileDescriptorProto], name: &str) -> &'a mut FileDescriptorProto {
    files.iter_mut().find(|file| file.package() == name).unwrap()
}

/// A field of `alys.storage.Head`.
fn field<'a>(files: &'a mut [FileDescriptorProto], name: &str) -> &'a mut FieldDescriptorProto {
    let head = package(files, "alys.storage").message_type.iter_mut().find(|message| message.name() == "Head").unwrap();
    head.field.iter_mut().find(|field| field.name() == name).unwrap()
}

#[test]
fn each_break_is_noticed() {
    type Change = fn(&mut [FileDescriptorProto]);
    let changes: [(&str, Change); 8] = [
        ("message alys.storage.Old is gone", |files| {
            package(files, "alys.storage").message_type.push(DescriptorProto { name: Some("Old".into()), ..Default::default() });
        }),
        ("field alys.storage.Head.height is gone", |files| field(files, "height").number = Some(99)),
        ("field alys.storage.Head.height: Optional string", |files| field(files, "height").set_type(Type::String)),
        ("field alys.storage.Head.height: Repeated", |files| field(files, "height").set_label(Label::Repeated)),
        ("field alys.storage.Head.old: ", |files| field(files, "height").name = Some("old".into())),
        ("ROLE_OLD = 77 is now None", |files| {
            let role = package(files, "alys.cluster").enum_type.iter_mut().find(|kind| kind.name() == "Role").unwrap();
            let value = EnumValueDescriptorProto { name: Some("ROLE_OLD".into()), number: Some(77), options: None };
            role.value.push(value);
        }),
        ("method alys.storage.Storage.GetHead is now", |files| {
            let methods = &mut package(files, "alys.storage").service[0].method;
            let head = methods.iter_mut().find(|method| method.name() == "GetHead").unwrap();
            head.output_type = Some(".alys.storage.Blocks".into());
        }),
        ("service alys.storage.Old is gone", |files| {
            let old = ServiceDescriptorProto { name: Some("Old".into()), ..Default::default() };
            package(files, "alys.storage").service.push(old);
        }),
    ];
    assert_eq!(breaks(&now(), &now()), [""; 0]);
    for (expected, change) in changes {
        let broken = breaks(&changed(change), &now());
        assert!(broken.iter().any(|one| one.contains(expected)), "not noticed: {expected}; {broken:?}");
    }
}

/// The bytes of one side, decoded and encoded by the other, which keeps only what it knows: what the last release said comes
/// back whole from this build, and what this build says arrives there as far as it was known.
#[test]
fn every_message_is_read_by_the_other_side() {
    let (before, now) = (released(), now());
    let mut compared = 0;
    for old in before.all_messages().filter(|message| message.full_name().starts_with(OURS) && !message.is_map_entry()) {
        let new = now.get_message_by_name(old.full_name()).unwrap();
        for alternative in 0..alternatives(&old) {
            let sent = filled(&old, alternative);
            let here = known(DynamicMessage::decode(new.clone(), sent.encode_to_vec().as_slice()).unwrap());
            let back = DynamicMessage::decode(old.clone(), here.encode_to_vec().as_slice()).unwrap();
            assert_eq!(back.to_string(), sent.to_string(), "{} lost something on its way through this build", old.full_name());
            let ours = filled(&new, alternative);
            let there = known(DynamicMessage::decode(old.clone(), ours.encode_to_vec().as_slice()).unwrap());
            assert_eq!(there.to_string(), sent.to_string(), "the last release misreads {}", old.full_name());
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} messages were compared");
}

/// The generated inboxes read every method of the last release.
#[test]
fn every_method_of_the_last_release_is_taken() {
    let before = released();
    let mut taken = 0;
    for service in before.services().filter(|service| service.full_name() != "alys.governance.Governance") {
        for method in service.methods() {
            let told = method.output().full_name() == "alys.common.Told";
            let body = filled(&method.input(), 0).encode_to_vec();
            let port: Option<ReplyPort> = (!told).then(|| -> ReplyPort { Box::new(drop) });
            let decoded = decode(service.package_name(), method.name(), &body, port);
            assert_eq!(decoded.as_deref(), Ok(method.name()), "{}", method.full_name());
            taken += 1;
        }
    }
    assert!(taken > 60, "only {taken} methods");
}

#[test]
fn what_a_newer_program_sends_is_ignored_or_refused_by_name() {
    // Field 20000, text: nobody here knows it.
    let unknown_field = [0x82, 0xe2, 0x09, 3, b'n', b'e', b'w'];
    let head = storage::Head { height: 7, hash: vec![1; 32] };
    let longer = [head.encode_to_vec().as_slice(), &unknown_field].concat();
    assert_eq!(storage::Head::decode(longer.as_slice()).unwrap(), head);
    let port = || -> Option<ReplyPort> { Some(Box::new(drop)) };
    assert_eq!(decode("alys.storage", "GetHead", &unknown_field, port()).as_deref(), Ok("GetHead"));

    let said = Arc::new(Mutex::new(Vec::new()));
    let listening = || -> Option<ReplyPort> {
        let said = said.clone();
        Some(Box::new(move |answer: Result<Vec<u8>, Refused>| said.lock().unwrap().push(answer)))
    };
    let unknown = decode("alys.storage", "GetTomorrow", &[], listening());
    assert_eq!(unknown, Err(Refused::Unknown("GetTomorrow".into())));
    let garbage = decode("alys.storage", "GetBlocks", &[0xff, 0xff], listening());
    assert!(matches!(garbage, Err(Refused::Malformed(_))), "{garbage:?}");
    // Whoever waits learns both.
    let said = said.lock().unwrap();
    assert!(matches!(said[..], [Err(Refused::Unknown(_)), Err(Refused::Malformed(_))]), "{said:?}");
}

/// The method's name as the inbox understood it.
fn decode(package: &str, name: &str, body: &[u8], port: Option<ReplyPort>) -> Result<String, Refused> {
    fn by<I: Inbox>(name: &str, body: &[u8], port: Option<ReplyPort>) -> Result<String, Refused> {
        I::decode(name, body, port).map(|message| message.name().to_owned())
    }
    match package {
        "alys.storage" => by::<storage::Inbox>(name, body, port),
        "alys.engine" => by::<engine::Inbox>(name, body, port),
        "alys.chain" => by::<chain::Inbox>(name, body, port),
        "alys.bridge" => by::<bridge::Inbox>(name, body, port),
        "alys.stream" => by::<stream::Inbox>(name, body, port),
        "alys.network" => by::<network::Inbox>(name, body, port),
        "alys.sync" => by::<sync::Inbox>(name, body, port),
        "alys.supervisor" => by::<supervisor::Inbox>(name, body, port),
        "alys.cluster" => by::<cluster::Inbox>(name, body, port),
        other => panic!("no inbox for {other}"),
    }
}
