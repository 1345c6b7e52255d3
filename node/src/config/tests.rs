#![allow(clippy::unwrap_used)]

use super::*;

fn file() -> &'static Path {
    Path::new("/data/alys.toml")
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let text = "[engine]\ncache_size = 1\n[engine.rpc]\nlisten = '127.0.0.1:1'\nmax_connections = 5\n[bridge.bitcoind]\nurl = 'http://file:1'";
    let environment =
        [variable("ALYS_ENGINE__RPC__LISTEN", "127.0.0.1:2"), variable("ALYS_BRIDGE__BITCOIND__URL", "http://env:2")];
    let flags = [Override::new("engine.rpc.listen", "127.0.0.1:3", "--port-base")];
    let loaded = layered(file(), text, &environment, &flags).unwrap();
    assert_eq!(loaded.config.engine.rpc.listen.port(), 3);
    assert_eq!(loaded.config.bridge.bitcoind.url, "http://env:2");
    assert_eq!(loaded.config.engine.rpc.max_connections, 5);

    let origin = |path: &str| loaded.layers.origin(path).to_string();
    assert_eq!(origin("engine.rpc.listen"), "flag --port-base");
    assert_eq!(origin("bridge.bitcoind.url"), "environment ALYS_BRIDGE__BITCOIND__URL");
    assert_eq!(origin("engine.rpc.max_connections"), "file /data/alys.toml");
    assert_eq!(origin("storage.cache_size"), "default");
}

#[test]
fn an_empty_file_is_the_defaults_with_paths_in_its_own_folder() {
    let config = layered(file(), "", &[], &[]).unwrap().config;
    assert_eq!(config.data_dir, Path::new("/data"));
    assert_eq!(config.storage.data_dir, Path::new("/data/storage"));
    assert_eq!(config.cluster.run_dir, Path::new("/data/run"));
    assert_eq!(config.stream.tls.key, Path::new("/data/tls/stream.key"));
}

#[test]
fn every_default_path_lies_in_the_data_directory() {
    let loaded = layered(file(), "", &[], &[]).unwrap();
    for (path, value) in loaded.layers.leaves() {
        let (table, key) = path.rsplit_once('.').map_or(("", path.as_str()), |(table, key)| (table, key));
        let table = table.rsplit('.').next().unwrap_or_default();
        let text = value.as_str().unwrap_or_default();
        if paths::is_path(table, key) && !text.is_empty() {
            assert!(text == "/data" || text.starts_with("/data/"), "{path} = {text}");
        }
    }
}

#[test]
fn an_error_names_its_origin() {
    let failing = [
        layered(file(), "[engine]\ncache = 1", &[], &[]).unwrap_err(),
        layered(file(), "", &[variable("ALYS_ENGINE__CACHE_SIZE", "many")], &[]).unwrap_err(),
        layered(file(), "", &[], &[Override::new("engin.x", 1, "--set")]).unwrap_err(),
    ];
    let expected = [["/data/alys.toml", "cache"], ["ALYS_ENGINE__CACHE_SIZE", "many"], ["--set", "engin"]];
    for (failure, words) in failing.iter().zip(expected) {
        let text = failure.to_string();
        assert_eq!(failure.code, alys_cluster::exit::CONFIGURATION);
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn each_local_role_has_a_metrics_port_of_its_own() {
    let nowhere = LocalConfig::default();
    assert_eq!(ROLES.map(|role| nowhere.metrics_listen(role, role.name())), [None; 8]);
    let local = LocalConfig { metrics_port_base: Some(9_600), ..nowhere };
    let port = |role, instance: &str| local.metrics_listen(role, instance).map(|listen| listen.port());
    let ports = ROLES.map(|role| port(role, role.name()).unwrap_or(0));
    assert_eq!(ports, [9_600, 9_601, 9_602, 9_603, 9_604, 9_605, 9_606, 9_607]);
    assert_eq!([port(Role::Sync, "sync-2"), port(Role::Sync, "sync-3")], [Some(9_609), Some(9_610)]);
    assert_eq!(port(Role::Chain, "another"), None);
    let member = |number| local.member_metrics_listen(number).map(|listen| listen.port());
    assert_eq!([member(1), member(3)], [Some(9_621), Some(9_623)]);
    assert_eq!([port(Role::Sync, "sync-12"), port(Role::Sync, "sync-13")], [Some(9_619), None], "not that of a member");
}
