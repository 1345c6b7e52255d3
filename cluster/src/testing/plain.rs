//! A role of a few lines.

use std::marker::PhantomData;

use alys_proto::Inbox;

use crate::actor::{Cx, RoleActor, Status};
use crate::exit::ActorError;

/// A role that handles messages and does nothing else: the other end of a link in a test or a bench.
pub struct Plain<I, F> {
    handle: F,
    inbox: PhantomData<fn(I)>,
}

impl<I, F> Plain<I, F> {
    /// `handle`: what it does with a message.
    pub const fn new(handle: F) -> Self {
        Self { handle, inbox: PhantomData }
    }
}

impl<I, F, D> RoleActor for Plain<I, F>
where
    I: Inbox,
    F: FnMut(I) -> D + Send + 'static,
    D: Future<Output = Result<(), ActorError>> + Send,
{
    type Inbox = I;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: I) -> Result<(), ActorError> {
        (self.handle)(message).await
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(Vec::new())
    }
}
