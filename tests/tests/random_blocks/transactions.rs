//! One random transaction.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{SignableTransaction, Signed, TxEip1559, TxEip2930, TxEnvelope, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip4788::BEACON_ROOTS_ADDRESS;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use alloy_signer::SignerSync as _;
use alys_blocks::BRIDGE_CONTRACT;
use eyre::OptionExt as _;

use super::contracts::{self, assemble, installing, nonsense};
use super::{Generator, precompiles};

/// More than any of the contracts needs, so that about half of the calls get through.
const MOST_GAS: u64 = 700_000;
/// What the waster may take: more than half of a block lets the base fee rise. Once in a block, so that the others fit.
const WASTED_GAS: u64 = 22_000_000;
/// One satoshi in wei.
const SATOSHI: u64 = 10_000_000_000;

/// What a transaction does, before it has a type, a fee and a signature.
struct Draft {
    to: TxKind,
    value: U256,
    input: Vec<u8>,
    /// Beyond what the transaction costs before it runs.
    gas: u64,
}

impl Generator {
    /// One of any kind.
    pub(super) fn transaction(&mut self, base_fee: u64) -> eyre::Result<Recovered<TxEnvelope>> {
        let from = usize::try_from(self.numbers.below(u64::try_from(self.senders.len())?))?;
        let gas = if self.numbers.one_in(3) { self.numbers.below(60_000) } else { MOST_GAS };
        let value = if self.numbers.one_in(2) { U256::ZERO } else { U256::from(self.numbers.below(1 << 50)) };
        let call = |to, value, input| Draft { to: TxKind::Call(to), value, input, gas };
        let draft = match self.numbers.below(16) {
            0 | 1 => {
                let data = if self.numbers.one_in(2) { Vec::new() } else { self.numbers.bytes(100) };
                Draft { gas: 60_000, ..call(self.anybody(), value, data) }
            }
            2 | 3 => call(self.contracts.writer, U256::ZERO, self.pairs()),
            4 => call(self.contracts.logger, U256::ZERO, self.numbers.bytes(200)),
            5 => call(self.contracts.reverter, value, self.numbers.bytes(100)),
            6 => call(self.contracts.bomb, value, self.anybody().into_word().to_vec()),
            7 => call(self.contracts.observer, value, self.anybody().into_word().to_vec()),
            8 => call(self.contracts.factory, value, self.factory_input()?),
            9 | 10 => {
                let signer = self.senders.get(from).ok_or_eyre("a sender")?;
                let (to, input) = precompiles::call(&mut self.numbers, signer)?;
                if self.numbers.one_in(4) { call(to, value, input) } else { self.forwarded(to, input, gas) }
            }
            11 => {
                let to = self.anybody();
                let input = if to == self.contracts.writer { self.pairs() } else { self.numbers.bytes(150) };
                self.forwarded(to, input, gas)
            }
            12 => self.burn(gas),
            13 if !self.wasted => {
                self.wasted = true;
                Draft { gas: self.numbers.below(WASTED_GAS), ..call(self.contracts.waster, value, Vec::new()) }
            }
            13 => self.root_of_before(gas),
            14 => Draft { to: TxKind::Create, value, input: self.init_code()?, gas },
            _ => Draft { to: TxKind::Create, value, input: nonsense(&mut self.numbers, &self.known), gas },
        };
        self.sign(from, draft, base_fee)
    }

    /// A contract of one sender.
    pub(super) fn create(&mut self, from: usize, input: Vec<u8>, base_fee: u64) -> eyre::Result<Recovered<TxEnvelope>> {
        self.sign(from, Draft { to: TxKind::Create, value: U256::ZERO, input, gas: MOST_GAS }, base_fee)
    }

    /// Slots and values for the writer: few slots, so that they are overwritten and cleared.
    fn pairs(&mut self) -> Vec<u8> {
        let count = self.numbers.within(1, 12);
        (0..count)
            .flat_map(|_| {
                let value = if self.numbers.one_in(3) { B256::ZERO } else { self.numbers.word() };
                [self.numbers.small_word(40), value.0]
            })
            .flatten()
            .collect()
    }

    /// Salt and init code: of a contract that ends when called, of one that stays, or of none.
    fn factory_input(&mut self) -> eyre::Result<Vec<u8>> {
        let code = match self.numbers.below(3) {
            0 => installing(&assemble("1 1 SSTORE CALLER SELFDESTRUCT")?)?,
            1 => installing(&assemble("1 SLOAD 1 ADD 1 SSTORE")?)?,
            _ => self.init_code()?,
        };
        Ok([self.numbers.small_word(30).as_slice(), &code].concat())
    }

    /// Code that makes a contract, and code that does not.
    fn init_code(&mut self) -> eyre::Result<Vec<u8>> {
        let source = match self.numbers.below(9) {
            0 => "CALLDATASIZE 0 REVERT",
            1 => "ADDRESS SELFDESTRUCT",
            2 => "1 0 SSTORE CALLER SELFDESTRUCT",
            // Code that begins so is refused (EIP-3541).
            3 => "239 0 MSTORE8 10 0 RETURN",
            // More code than a contract may have (EIP-170), and the most that it may.
            4 => "24577 0 RETURN",
            5 => "2000 0 RETURN",
            6 => "@nowhere JUMP nowhere: 1 1 SSTORE 2 2 SSTORE 0 1 SSTORE 96 0 RETURN",
            7 => contracts::OBSERVER,
            _ => return installing(&assemble(contracts::WRITER)?),
        };
        assemble(source)
    }

    /// Through a contract that calls in one of the four ways.
    fn forwarded(&mut self, to: Address, input: Vec<u8>, gas: u64) -> Draft {
        let value = if self.numbers.one_in(3) { self.numbers.small_word(100) } else { [0; 32] };
        let allowed = if self.numbers.one_in(4) { self.numbers.small_word(5_000) } else { self.numbers.small_word(500_000) };
        let input = [to.into_word().as_slice(), &value, &allowed, &input].concat();
        let forwarder = self.numbers.choice(&self.contracts.forwarders);
        Draft { to: TxKind::Call(forwarder), value: U256::from(50), input, gas }
    }

    /// `requestPegOut(bytes)`, mostly with an amount and a length that the bridge takes.
    fn burn(&mut self, gas: u64) -> Draft {
        let length = self.numbers.within(0, 110);
        let satoshis = U256::from(self.numbers.below(100_000_000)) * U256::from(SATOSHI);
        let value = if self.numbers.one_in(4) { satoshis + U256::ONE } else { satoshis };
        let selector = keccak256("requestPegOut(bytes)");
        let mut input = selector.get(..4).unwrap_or_default().to_vec();
        input.extend(B256::with_last_byte(32));
        input.extend(B256::left_padding_from(&length.to_be_bytes()));
        input.extend((0..length.next_multiple_of(32)).map(|at| if at < length { b'q' } else { 0 }));
        Draft { to: TxKind::Call(BRIDGE_CONTRACT), value, input, gas }
    }

    /// EIP-4788, for a time at which there may have been a block.
    fn root_of_before(&mut self, gas: u64) -> Draft {
        let time = self.genesis_time + self.numbers.below(2_000);
        let input = B256::left_padding_from(&time.to_be_bytes()).to_vec();
        self.forwarded(BEACON_ROOTS_ADDRESS, input, gas)
    }

    fn access_list(&mut self) -> AccessList {
        let count = self.numbers.below(4);
        let items = (0..count).map(|_| {
            let slots = self.numbers.below(5);
            let storage_keys = (0..slots).map(|_| B256::from(self.numbers.small_word(40))).collect();
            AccessListItem { address: self.anybody(), storage_keys }
        });
        AccessList(items.collect())
    }

    /// As one of the three types.
    fn sign(&mut self, from: usize, draft: Draft, base_fee: u64) -> eyre::Result<Recovered<TxEnvelope>> {
        let nonce = self.nonces.get_mut(from).ok_or_eyre("a sender")?;
        let (chain_id, now) = (212_121, *nonce);
        *nonce += 1;
        if draft.to == TxKind::Create {
            let sender = self.senders.get(from).ok_or_eyre("a sender")?;
            self.known.push(sender.address().create(now));
        }
        let tip = u128::from(if self.numbers.one_in(4) { 0 } else { self.numbers.below(3_000_000_000) });
        let price = u128::from(base_fee) + tip;
        let kind = self.numbers.below(3);
        let access_list = if kind == 0 { AccessList::default() } else { self.access_list() };
        let Draft { to, value, input, gas } = draft;
        let gas_limit = intrinsic(to, &input, &access_list) + gas;
        let input = input.into();
        match kind {
            0 => {
                let chain_id = Some(chain_id);
                self.signed(from, TxLegacy { chain_id, nonce: now, gas_price: price, gas_limit, to, value, input })
            }
            1 => {
                let unsigned = TxEip2930 { chain_id, nonce: now, gas_price: price, gas_limit, to, value, access_list, input };
                self.signed(from, unsigned)
            }
            _ => {
                // What may be paid, and what is offered, cap each other.
                let max_fee_per_gas = price + u128::from(self.numbers.below(1_000_000_000));
                let max_priority_fee_per_gas = if self.numbers.one_in(3) { max_fee_per_gas } else { tip };
                let unsigned = TxEip1559 {
                    chain_id,
                    nonce: now,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to,
                    value,
                    access_list,
                    input,
                };
                self.signed(from, unsigned)
            }
        }
    }

    fn signed<T>(&self, from: usize, unsigned: T) -> eyre::Result<Recovered<TxEnvelope>>
    where
        T: SignableTransaction<Signature>,
        TxEnvelope: From<Signed<T>>,
    {
        let signer = self.senders.get(from).ok_or_eyre("a sender")?;
        let signature = signer.sign_hash_sync(&unsigned.signature_hash())?;
        Ok(Recovered::new_unchecked(unsigned.into_signed(signature).into(), signer.address()))
    }
}

/// What a transaction costs before it runs (EIP-2028, 2930, 3860).
fn intrinsic(to: TxKind, input: &[u8], access_list: &AccessList) -> u64 {
    let data: u64 = input.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum();
    let words = u64::try_from(input.len().div_ceil(32)).unwrap_or(u64::MAX);
    let creation = if to == TxKind::Create { 32_000 + 2 * words } else { 0 };
    let listed: u64 =
        access_list.iter().map(|item| 2_400 + 1_900 * u64::try_from(item.storage_keys.len()).unwrap_or(u64::MAX)).sum();
    21_000 + data + creation + listed
}
