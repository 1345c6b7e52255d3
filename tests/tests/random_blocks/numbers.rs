//! Chance that is the same in every run with the same seed.

use alloy_primitives::{Address, B256, U256};

/// Numbers (xorshift64*).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        // Any state but 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn any(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to but not `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.any() >> 11) % bound
    }

    /// Both ends included.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn byte(&mut self) -> u8 {
        self.any().to_be_bytes()[0]
    }

    pub fn word(&mut self) -> B256 {
        B256::from(std::array::from_fn(|_| self.byte()))
    }

    /// Short ones, so that slots and salts meet again.
    pub fn small_word(&mut self, bound: u64) -> [u8; 32] {
        U256::from(self.below(bound)).to_be_bytes()
    }

    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        // A third of zeros, which cost less.
        (0..self.below(most + 1)).map(|_| if self.one_in(3) { 0 } else { self.byte() }).collect()
    }

    /// One of these, or the zero address.
    pub fn choice(&mut self, of: &[Address]) -> Address {
        let at = usize::try_from(self.below(u64::try_from(of.len()).unwrap_or(0).max(1))).unwrap_or(0);
        of.get(at).copied().unwrap_or_default()
    }
}
