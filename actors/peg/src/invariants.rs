//! The named invariants of the peg. Tests, metrics and refusals use these names.

use std::collections::BTreeMap;
use std::fmt;

/// One invariant of the peg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "`text` says what each one is")]
pub enum PegInvariant {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
    P12,
    P13,
    P14,
    P15,
    P16,
    P17,
    P18,
    P19,
    P20,
}

impl PegInvariant {
    /// All of them, in order.
    pub const ALL: [Self; 20] = [
        Self::P1,
        Self::P2,
        Self::P3,
        Self::P4,
        Self::P5,
        Self::P6,
        Self::P7,
        Self::P8,
        Self::P9,
        Self::P10,
        Self::P11,
        Self::P12,
        Self::P13,
        Self::P14,
        Self::P15,
        Self::P16,
        Self::P17,
        Self::P18,
        Self::P19,
        Self::P20,
    ];

    /// The name, as in the design and in metrics.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// One line that says what must hold.
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::P1 => ("PEG-1", "supply is minted minus burned, and the coins held cover supply and payouts owed"),
            Self::P2 => ("PEG-2", "an outpoint is minted at most once, ever"),
            Self::P3 => {
                ("PEG-3", "the minted amount is the output's value minus the declared fee, to the recipient the deposit names")
            }
            Self::P4 => ("PEG-4", "a deposit counts only deep enough in the Bitcoin chain that the block commits to"),
            Self::P5 => ("PEG-5", "withdrawals in the payload equal the justified ones exactly"),
            Self::P6 => ("PEG-6", "a burn is paid at most once"),
            Self::P7 => ("PEG-7", "every committed burn is paid or refunded, with a stored reason"),
            Self::P8 => (
                "PEG-8",
                "a payout pays pending burns and at most one change, its fee within bounds, its inputs ours and confirmed",
            ),
            Self::P9 => ("PEG-9", "change goes only to the federation's own script"),
            Self::P10 => ("PEG-10", "no coin is in two live transactions"),
            Self::P11 => ("PEG-11", "a spent coin stays spent"),
            Self::P12 => ("PEG-12", "coins and queues are a function of the chain"),
            Self::P13 => ("PEG-13", "the proposal for a payout is the same bytes on every node"),
            Self::P14 => ("PEG-14", "settlement only moves forward"),
            Self::P15 => ("PEG-15", "one unit of work settles one bundle"),
            Self::P16 => ("PEG-16", "a signature exists only if the burn was settled on the signer's own node"),
            Self::P17 => ("PEG-17", "nothing of ours nears a timelock"),
            Self::P18 => ("PEG-18", "caps, rolling limits and pause hold"),
            Self::P19 => ("PEG-19", "after a crash at any step, everything happens exactly once"),
            Self::P20 => ("PEG-20", "no nonce is used twice, and every transaction passes testmempoolaccept"),
        }
    }
}

impl fmt::Display for PegInvariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each invariant was found broken. For people and alerts: whoever counts also halts or refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(BTreeMap<PegInvariant, u64>);

impl Violations {
    /// One more.
    pub fn count(&mut self, invariant: PegInvariant) {
        let count = self.0.entry(invariant).or_default();
        *count = count.saturating_add(1);
    }

    /// All invariants by name, also those that held.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PegInvariant::ALL.into_iter().map(|invariant| (invariant.name(), self.0.get(&invariant).copied().unwrap_or(0)))
    }
}
