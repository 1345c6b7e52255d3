//! Burns: events of the bridge contract, as the receipts of a block have them.

use alloy_consensus::ReceiptEnvelope;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolEvent, sol};
use alys_blocks::BRIDGE_CONTRACT;

sol! {
    /// The contract burned `amount` wei of `sender`, who wants them at `bitcoinAddress`.
    #[derive(Debug)]
    event RequestPegOut(address indexed sender, bytes bitcoinAddress, uint256 amount);
}

/// One burn. `(height, log_index)` identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// Block number.
    pub height: u64,
    /// Of the event within the block.
    pub log_index: u32,
    /// Transaction that emitted it.
    pub transaction: B256,
    /// Who burned.
    pub sender: Address,
    /// Text bytes as the burner gave them, not yet checked.
    pub bitcoin_address: Bytes,
    /// Wei.
    pub amount: U256,
}

/// Burns of a block in log order. Receipts and transaction hashes are parallel.
pub fn find(height: u64, receipts: &[ReceiptEnvelope], hashes: impl IntoIterator<Item = B256>) -> Vec<Burn> {
    let logs = receipts.iter().zip(hashes).flat_map(|(receipt, hash)| receipt.logs().iter().map(move |log| (log, hash)));
    let mut burns = Vec::new();
    for (log_index, (log, transaction)) in (0u32..).zip(logs) {
        // Only our contract's events count: anybody can emit the same topic elsewhere.
        if log.address != BRIDGE_CONTRACT {
            continue;
        }
        let Ok(event) = RequestPegOut::decode_log_data(&log.data) else { continue };
        burns.push(Burn {
            height,
            log_index,
            transaction,
            sender: event.sender,
            bitcoin_address: event.bitcoinAddress,
            amount: event.amount,
        });
    }
    burns
}

impl From<&Burn> for alys_proto::common::Burn {
    fn from(burn: &Burn) -> Self {
        Self {
            height: burn.height,
            log_index: burn.log_index,
            transaction_hash: burn.transaction.to_vec(),
            sender: burn.sender.to_vec(),
            bitcoin_address: burn.bitcoin_address.to_vec(),
            amount_wei: burn.amount.to_be_bytes_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::Receipt;
    use alloy_primitives::{Log, LogData};

    use super::*;

    fn log(address: Address, amount: u64) -> Log {
        let event = RequestPegOut {
            sender: Address::repeat_byte(7),
            bitcoinAddress: Bytes::from_static(b"bcrt1q"),
            amount: U256::from(amount),
        };
        Log { address, data: event.encode_log_data() }
    }

    fn receipt(logs: Vec<Log>) -> ReceiptEnvelope {
        ReceiptEnvelope::Eip1559(Receipt { status: true.into(), cumulative_gas_used: 0, logs }.with_bloom())
    }

    #[test]
    fn only_our_contract_counts_and_the_index_runs_over_the_block() {
        let noise = Log { address: BRIDGE_CONTRACT, data: LogData::default() };
        let receipts =
            [receipt(vec![log(Address::ZERO, 1), log(BRIDGE_CONTRACT, 2)]), receipt(vec![noise, log(BRIDGE_CONTRACT, 3)])];
        let burns = find(9, &receipts, [B256::repeat_byte(1), B256::repeat_byte(2)]);
        let seen: Vec<_> = burns.iter().map(|burn| (burn.log_index, burn.amount, burn.transaction)).collect();
        assert_eq!(seen, [(1, U256::from(2), B256::repeat_byte(1)), (3, U256::from(3), B256::repeat_byte(2))]);
        assert_eq!(burns[0].bitcoin_address.as_ref(), b"bcrt1q");
    }
}
