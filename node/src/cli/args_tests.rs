#![allow(clippy::unwrap_used, clippy::panic)]

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent_and_all_of_it_is_explained() {
    fn explained(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        for inner in command.get_subcommands() {
            assert!(inner.get_about().is_some(), "{}", inner.get_name());
            explained(inner);
        }
    }
    Cli::command().debug_assert();
    explained(&Cli::command());
}

#[test]
fn lines_from_the_documentation_parse() {
    let lines = [
        "alys up --dev --slot-millis=1000 --confirmations=3 --data-dir /x --port-base 9000 --bitcoin-url http://127.0.0.1:1 --bitcoin-cookie /c",
        "alys up --join /x/chain.toml --bootnode /ip4/192.0.2.1/tcp/30333 --bootnode /ip4/192.0.2.2/tcp/30333",
        "alys role storage --config /x/alys.toml",
        "alys --data-dir /x status -o json",
        "alys status --watch",
        "alys debug mailbox ls",
        "alys debug mailbox peek chain --limit 3",
        "alys peg-in address --recipient 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf",
        "alys peg-in send --amount 1 --recipient 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet w",
        "alys peg-out --amount 0.4 --to bcrt1qxyz --key-file /k",
        "alys peg-out status -o json",
        "alys config show --origin --set engine.rpc.listen=127.0.0.1:1",
        "alys keys generate evm --out /k",
        "alys keys show",
        "alys keys show evm --file /k",
        "alys governance --member 2",
        "alys completions bash",
    ];
    for line in lines {
        if let Err(cause) = parse(line) {
            panic!("{line}: {cause}");
        }
    }
}

#[test]
fn wrong_lines_are_refused() {
    let lines = [
        "alys role nobody",
        "alys role debug",
        "alys peg-out --amount 0.4",
        "alys peg-out --amount 0.123456789 --to x",
        "alys peg-in send --amount -1 --recipient 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet w",
        "alys up --slot-millis 1000",
        "alys up --dev --slot-millis one",
        "alys up --dev --join /x/chain.toml",
        "alys up --join /x/chain.toml --bootnode 192.0.2.1:30333",
        "alys status --set nonsense",
    ];
    for line in lines {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn amounts_are_exact() {
    let Command::PegOut(out) = parse("alys peg-out --amount 0.4 --to x").unwrap().command else { panic!() };
    assert_eq!(out.amount, Some(Sats(40_000_000)));
}
