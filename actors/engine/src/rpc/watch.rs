//! What is new since the last look: behind both filters (`eth_getFilterChanges`) and subscriptions.
//!
//! Committed blocks are final, so nothing is ever taken back: a watch is what it looks for and where it goes on.

use std::sync::Arc;

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Header, Log};

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::{convert, logs};
use crate::core::view::BlockView;

/// Most blocks in one answer; the rest come with the next.
const MAX_BLOCKS: u64 = 1_000;

/// Something to look out for.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    subject: Subject,
    /// The next block, or the next arrival in the pool.
    next: u64,
}

#[derive(Clone, Debug)]
enum Subject {
    Blocks,
    Logs { filter: Box<Filter>, to: u64 },
    Transactions,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Blocks were committed.
    Blocks(Vec<Arc<BlockView>>),
    /// They had these logs.
    Logs(Vec<Log>),
    /// These arrived in the pool.
    Transactions(Vec<B256>),
}

impl Watch {
    /// Blocks after the head.
    pub(super) fn blocks(handle: &Handle) -> Answer<Self> {
        Ok(Self { subject: Subject::Blocks, next: handle.head_number()?.saturating_add(1) })
    }

    /// Logs in blocks after the head, or from the filter's first block on.
    pub(super) fn logs(handle: &Handle, filter: Filter) -> Answer<Self> {
        logs::check(&filter)?;
        let FilterBlockOption::Range { from_block, to_block } = filter.block_option else {
            return Err(Failure::Arguments("a block hash cannot be watched: use eth_getLogs".to_owned()));
        };
        let after_head = handle.head_number()?.saturating_add(1);
        let number = |tag: Option<BlockNumberOrTag>| match tag {
            Some(BlockNumberOrTag::Number(number)) => Some(number),
            Some(BlockNumberOrTag::Earliest) => Some(0),
            _ => None,
        };
        let next = number(from_block).unwrap_or(after_head);
        let to = number(to_block).unwrap_or(u64::MAX);
        Ok(Self { subject: Subject::Logs { filter: Box::new(filter), to }, next })
    }

    /// Transactions that arrive in the pool.
    pub(super) fn transactions(handle: &Handle) -> Self {
        Self { subject: Subject::Transactions, next: handle.pool.lock().arrivals() }
    }

    /// The filter of a watch for logs.
    pub(super) fn filter(&self) -> Option<&Filter> {
        match &self.subject {
            Subject::Logs { filter, .. } => Some(filter),
            Subject::Blocks | Subject::Transactions => None,
        }
    }

    /// Whether a look would find a block or transaction; cheap.
    pub(super) fn is_behind(&self, handle: &Handle) -> Answer<bool> {
        match self.subject {
            Subject::Transactions => Ok(handle.pool.lock().arrivals() > self.next),
            Subject::Blocks | Subject::Logs { .. } => Ok(handle.head_number()? >= self.next),
        }
    }

    /// What is new; the next look goes on from there.
    pub(super) fn look(&mut self, handle: &Handle) -> Answer<News> {
        if let Subject::Transactions = self.subject {
            let pool = handle.pool.lock();
            let hashes = pool.arrived_since(self.next);
            self.next = pool.arrivals();
            return Ok(News::Transactions(hashes));
        }
        let last = handle.head_number()?.min(self.next.saturating_add(MAX_BLOCKS - 1));
        let (mut blocks, mut found) = (Vec::new(), Vec::new());
        for number in self.next..=last {
            match &self.subject {
                Subject::Logs { filter, to } if number <= *to => logs::scan(handle, filter, number, &mut found)?,
                Subject::Logs { .. } | Subject::Transactions => {}
                Subject::Blocks => blocks.extend(handle.reader.block_by_number(number)?),
            }
        }
        self.next = self.next.max(last.saturating_add(1));
        match self.subject {
            Subject::Logs { .. } => Ok(News::Logs(found)),
            Subject::Blocks | Subject::Transactions => Ok(News::Blocks(blocks)),
        }
    }
}

/// Changes as filters answer them: hashes or logs.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Changes {
    Hashes(Vec<B256>),
    Logs(Vec<Log>),
}

impl From<News> for Changes {
    fn from(news: News) -> Self {
        match news {
            News::Blocks(blocks) => Self::Hashes(blocks.iter().map(|block| block.hash).collect()),
            News::Transactions(hashes) => Self::Hashes(hashes),
            News::Logs(logs) => Self::Logs(logs),
        }
    }
}

/// One notification of a subscription.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Notice {
    Head(Box<Header>),
    Log(Box<Log>),
    Transaction(B256),
}

impl News {
    /// One notification for each.
    pub(super) fn notices(self) -> Vec<Notice> {
        match self {
            Self::Blocks(blocks) => {
                blocks.iter().map(|block| Notice::Head(Box::new(convert::block(block, false).header))).collect()
            }
            Self::Logs(logs) => logs.into_iter().map(|log| Notice::Log(Box::new(log))).collect(),
            Self::Transactions(hashes) => hashes.into_iter().map(Notice::Transaction).collect(),
        }
    }
}
