//! The engine without disk, clock or messages: plain functions over a [`state::StateSource`].

pub mod block;
pub mod build;
pub mod burns;
pub mod call;
pub mod execute;
pub mod forks;
pub mod genesis;
pub mod geth;
pub mod header;
pub mod layers;
pub mod memory;
pub mod proof;
pub mod state;
pub mod trace;
pub mod tree;
pub mod trie;
pub mod verify;
pub mod view;
