//! `eth_subscribe` over WebSocket: `newHeads`, `logs`, `newPendingTransactions`.
//!
//! A subscription looks at the head (one pointer read) every [`LOOK_INTERVAL`] and reads only when it moved; without
//! subscriptions nothing runs. A client that does not read its socket holds up only its own subscription.

use std::sync::Arc;
use std::time::Duration;

use alloy_rpc_types_eth::Filter;
use alloy_rpc_types_eth::pubsub::SubscriptionKind;
use jsonrpsee::core::id_providers::RandomIntegerIdProvider;
use jsonrpsee::core::traits::IdProvider;
use jsonrpsee::server::{PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink};
use jsonrpsee::types::{Params, SubscriptionId};

use super::backend::{Backend, Handle, Lane};
use super::failure::{Answer, Failure};
use super::watch::{Notice, Watch};

/// How late a notification may be.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Serves one subscription until the client leaves.
pub(super) async fn subscribe(params: Params<'static>, pending: PendingSubscriptionSink, backend: Arc<Backend>) {
    let watch = match backend.run(Lane::Quick, move |handle| watch(handle, &params)).await {
        Ok(watch) => watch,
        Err(failure) => return pending.reject(failure).await,
    };
    // It fails when the client is gone already.
    let Ok(sink) = pending.accept().await else { return };
    tokio::select! {
        () = sink.closed() => {}
        ended = follow(&sink, &backend, watch) => {
            if let Err(failure) = ended {
                tracing::debug!(%failure, "a json-rpc subscription ended");
            }
        }
    }
}

fn watch(handle: &Handle, params: &Params<'_>) -> Answer<Watch> {
    let mut arguments = params.sequence();
    match arguments.next()? {
        SubscriptionKind::NewHeads => Watch::blocks(handle),
        SubscriptionKind::Logs => Watch::logs(handle, arguments.optional_next::<Filter>()?.unwrap_or_default()),
        SubscriptionKind::NewPendingTransactions => Ok(Watch::transactions(handle)),
        other => Err(Failure::Arguments(format!("no \"{other}\" subscription in eth namespace"))),
    }
}

async fn follow(sink: &SubscriptionSink, backend: &Backend, mut watch: Watch) -> Answer<()> {
    let mut clock = tokio::time::interval(LOOK_INTERVAL);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if !watch.is_behind(backend.handle())? {
            continue;
        }
        let (after, news) = backend
            .run(Lane::Quick, move |handle| {
                let news = watch.look(handle)?;
                Ok((watch, news))
            })
            .await?;
        watch = after;
        for notice in news.notices() {
            if !send(sink, &notice).await? {
                return Ok(());
            }
        }
    }
}

/// Whether the client is still there.
async fn send(sink: &SubscriptionSink, notice: &Notice) -> Answer<bool> {
    let message = SubscriptionMessage::new(sink.method_name(), sink.subscription_id(), notice);
    let message = message.map_err(|_| Failure::Internal)?;
    Ok(sink.send(message).await.is_ok())
}

/// Subscription ids as other clients write them: hex quantities.
#[derive(Debug)]
pub(super) struct HexIds;

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        match RandomIntegerIdProvider.next_id() {
            SubscriptionId::Num(id) => SubscriptionId::Str(format!("{id:#x}").into()),
            other @ SubscriptionId::Str(_) => other,
        }
    }
}
