#![allow(clippy::unwrap_used)]

use super::*;

fn changed(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    Topology::parse(&EXAMPLE.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn the_example_is_a_topology() {
    let topology = Topology::parse(EXAMPLE).unwrap();
    assert_eq!((topology.hosts.len(), topology.sync(), topology.meshed()), (2, 2, true));
    assert_eq!((topology.mesh_port(Role::Storage, 0), topology.mesh_port(Role::Sync, 2)), (Some(9_100), Some(9_111)));
    assert_eq!((topology.telemetry_port(Role::Storage, 0), topology.telemetry_port(Role::Sync, 1)), (Some(9_200), Some(9_210)));
    assert_eq!(topology.resources(Role::Storage).disk.unwrap().to_string(), "200Gi");
    assert_eq!((topology.supervisor_host(), topology.mesh_port(Role::Supervisor, 0)), (Some("a"), Some(9_109)));
    assert_eq!(topology.resources(Role::Chain), Resources::of(Role::Chain));
}

#[test]
fn every_rule_names_what_breaks_it() {
    let table = [
        ("\"storage\", ", "", "no host runs storage"),
        ("[\"bridge\"", "[\"chain\", \"bridge\"", "chain runs 2 times"),
        ("[\"bridge\"", "[\"sync\", \"bridge\"", "sync is a count"),
        ("[\"bridge\"", "[\"supervisor\", \"bridge\"", "supervisor is a setting"),
        ("[\"bridge\"", "[\"wallet\", \"bridge\"", "`wallet` is not a role"),
        ("192.0.2.2", "192.0.2.1", "different addresses"),
        ("192.0.2.2", "127.0.0.1", "different addresses"),
        ("sync = 2", "sync = 65", "more than 64 sync workers"),
        ("mesh = 9100", "mesh = 65533", "no room"),
        ("\"federation-member\"", "\"../x\"", "is no name"),
        ("namespace = \"alys\"", "namespace = \"Alys\"", "is no name"),
        ("supervisor = true", "supervisor = \"z\"", "names no host"),
        ("host = \"c\"", "host = \"a\"", "governance.ada needs a host of its own"),
        ("host = \"c\"", "host = \"c\"\nstream = \"http://192.0.2.2:1\"", "governance.ada needs `stream`"),
        ("[governance.ada]", "[governance.Ada]", "is no name"),
        ("user = \"alys\"", "user = \"al\\\"ys\"", "quotes"),
        ("memory = \"2Gi\"", "memory = \"2 GB\"", "no amount"),
        ("[eth_rpc]\npublic", "[eth_rpc]\nopen", "unknown field"),
    ];
    for (from, to, expected) in table {
        let said = changed(from, to);
        assert!(said.contains(expected), "{to}: {said}");
    }
}
