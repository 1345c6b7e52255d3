//! Filters that a client installs and asks for changes: `eth_newFilter` and its kin.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::U64;
use alloy_rpc_types_eth::{Filter, Log};
use jsonrpsee::core::id_providers::RandomIntegerIdProvider;
use jsonrpsee::core::traits::IdProvider;
use jsonrpsee::types::SubscriptionId;

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::logs;
use super::methods::Arguments;
use super::watch::{Changes, Watch};

/// Most filters at the same time: about a megabyte.
const MAX_FILTERS: usize = 1_024;
/// A filter that nobody asks about for this long is gone.
const IDLE: Duration = Duration::from_secs(300);

/// All filters by id. Ids are random, so that nobody drains another client's filter by guessing.
#[derive(Debug, Default)]
pub(super) struct Filters(Mutex<HashMap<u64, Installed>>);

#[derive(Debug)]
struct Installed {
    watch: Watch,
    used: Instant,
}

impl Filters {
    /// `eth_newBlockFilter`.
    pub(super) fn new_blocks(&self, handle: &Handle, _: Arguments<'_>) -> Answer<U64> {
        self.install(Watch::blocks(handle)?)
    }

    /// `eth_newPendingTransactionFilter`.
    pub(super) fn new_transactions(&self, handle: &Handle, _: Arguments<'_>) -> Answer<U64> {
        self.install(Watch::transactions(handle))
    }

    /// `eth_newFilter(filter)`.
    pub(super) fn new_logs(&self, handle: &Handle, mut arguments: Arguments<'_>) -> Answer<U64> {
        let filter: Filter = arguments.next()?;
        self.install(Watch::logs(handle, filter)?)
    }

    /// `eth_getFilterChanges(id)`.
    pub(super) fn changes(&self, handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Changes> {
        let id: U64 = arguments.next()?;
        let mut watch = self.use_one(id)?;
        let news = watch.look(handle)?;
        // Not looked at under the lock: that reads blocks. Two questions at once may both get the same changes.
        if let Some(installed) = self.lock().get_mut(&id.to()) {
            installed.watch = watch;
        }
        Ok(news.into())
    }

    /// `eth_getFilterLogs(id)`: all logs, not only new ones.
    pub(super) fn all_logs(&self, handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Vec<Log>> {
        let watch = self.use_one(arguments.next()?)?;
        let filter = watch.filter().ok_or_else(|| Failure::Arguments("this filter is not for logs".to_owned()))?;
        logs::find(handle, filter)
    }

    /// `eth_uninstallFilter(id)`.
    pub(super) fn uninstall(&self, _: &Handle, mut arguments: Arguments<'_>) -> Answer<bool> {
        let id: U64 = arguments.next()?;
        Ok(self.lock().remove(&id.to()).is_some())
    }

    fn install(&self, watch: Watch) -> Answer<U64> {
        let mut filters = self.lock();
        let now = Instant::now();
        filters.retain(|_, installed| now.duration_since(installed.used) < IDLE);
        if filters.len() >= MAX_FILTERS {
            return Err(Failure::Limit(format!("{MAX_FILTERS} filters are installed: uninstall some")));
        }
        let SubscriptionId::Num(id) = RandomIntegerIdProvider.next_id() else { return Err(Failure::Internal) };
        filters.insert(id, Installed { watch, used: now });
        Ok(U64::from(id))
    }

    fn use_one(&self, id: U64) -> Answer<Watch> {
        let mut filters = self.lock();
        let installed = filters.get_mut(&id.to()).ok_or_else(|| Failure::Execution("filter not found".to_owned()))?;
        installed.used = Instant::now();
        Ok(installed.watch.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Installed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
