//! Messages that came together are kept together, in one allocation, until the last of them is handled: what moves from hand to
//! hand is a message's place among them. As much memory stays as the part of the read buffer that their bodies are anyway.

use std::ops::Deref;
use std::sync::Arc;

use alys_proto::wire::Method;
use bytes::Bytes;

use crate::header::Header;

/// What a message says.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) method: &'static Method,
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

/// A message among those that it came with.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pack: Arc<Vec<Content>>,
    at: usize,
}

impl Packed {
    /// All of them, in their order.
    pub(crate) fn all(contents: Vec<Content>) -> impl Iterator<Item = Self> {
        let pack = Arc::new(contents);
        (0..pack.len()).map(move |at| Self { pack: pack.clone(), at })
    }

    /// One that came alone.
    pub(crate) fn one(content: Content) -> Self {
        Self { pack: Arc::new(vec![content]), at: 0 }
    }
}

impl Deref for Packed {
    type Target = Content;

    #[inline]
    fn deref(&self) -> &Content {
        // A pack never changes, and `at` is a place in it.
        &self.pack[self.at]
    }
}
