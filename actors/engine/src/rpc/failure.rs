//! Why a call is not answered, with the codes and words that wallets and tools know.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{Panic, Revert, SolError as _};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};

use crate::core::view::ViewError;
use crate::pool::Rejection;

/// The answer of a method.
pub(super) type Answer<T> = Result<T, Failure>;

/// The server understood but cannot do it: EIP-1474 and what all clients use.
const SERVER_ERROR: i32 = -32_000;
/// More than a limit allows.
const LIMIT_EXCEEDED: i32 = -32_005;
/// The EVM reverted: `data` has what it returned.
const REVERTED: i32 = 3;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The pool refused a transaction.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The call reverted with these bytes.
    #[error("{}", revert_message(.0))]
    Reverted(Bytes),
    /// The call stopped on a fault or cannot begin.
    #[error("{0}")]
    Execution(String),
    /// No block by this number or hash.
    #[error("header not found")]
    NoBlock,
    /// The arguments contradict each other.
    #[error("{0}")]
    Arguments(String),
    /// The arguments have the wrong shape.
    #[error("{}", .0.message())]
    Parameters(#[from] ErrorObjectOwned),
    /// The answer would be too large.
    #[error("{0}")]
    Limit(String),
    /// Too many calls wait for a thread.
    #[error("server is busy: {0} calls are waiting, try again")]
    Busy(usize),
    /// The state cannot be read, or an own task failed.
    #[error("internal error")]
    Internal,
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unknown(..) => Self::NoBlock,
            ViewError::Refused(reason) => Self::Execution(reason),
            ViewError::State(source) => {
                // What broke is for the operator, not for whoever calls.
                tracing::error!(error = %source, "json-rpc cannot read the state");
                Self::Internal
            }
        }
    }
}

impl From<Failure> for ErrorObjectOwned {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let code = match failure {
            Failure::Parameters(error) => return error,
            Failure::Reverted(output) => return Self::owned(REVERTED, message, Some(output)),
            Failure::Rejected(_) | Failure::Execution(_) | Failure::NoBlock => SERVER_ERROR,
            Failure::Arguments(_) => INVALID_PARAMS_CODE,
            Failure::Limit(_) | Failure::Busy(_) => LIMIT_EXCEEDED,
            Failure::Internal => INTERNAL_ERROR_CODE,
        };
        Self::owned(code, message, None::<()>)
    }
}

/// `execution reverted`, with the reason when it is Solidity's `Error(string)` or `Panic(uint256)`.
fn revert_message(output: &[u8]) -> String {
    if let Ok(error) = Revert::abi_decode(output) {
        return format!("execution reverted: {}", error.reason);
    }
    if let Ok(Panic { code }) = Panic::abi_decode(output) {
        return format!("execution reverted: panic code 0x{:02x}", code.min(U256::from(u64::MAX)));
    }
    "execution reverted".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

    use super::*;

    fn object(failure: Failure) -> (i32, String, Option<String>) {
        let error = ErrorObjectOwned::from(failure);
        (error.code(), error.message().to_owned(), error.data().map(|data| data.get().to_owned()))
    }

    #[test]
    fn a_revert_has_code_3_its_reason_and_its_data() {
        let data = Revert::from("too late").abi_encode();
        let (code, message, shown) = object(Failure::Reverted(data.clone().into()));
        assert_eq!((code, message.as_str()), (3, "execution reverted: too late"));
        assert_eq!(shown.unwrap(), format!("\"{}\"", Bytes::from(data)));
        let (_, message, _) = object(Failure::Reverted(Panic::from(0x11).abi_encode().into()));
        assert_eq!(message, "execution reverted: panic code 0x11");
        let (_, message, shown) = object(Failure::Reverted(Bytes::new()));
        assert_eq!((message.as_str(), shown.unwrap().as_str()), ("execution reverted", "\"0x\""));
    }

    #[test]
    fn codes_are_those_that_tools_expect() {
        assert_eq!(object(Failure::Rejected(Rejection::AlreadyKnown)), (-32_000, "already known".to_owned(), None));
        assert_eq!(object(Failure::Arguments("x".to_owned())).0, -32_602);
        assert_eq!(object(Failure::Limit("x".to_owned())).0, -32_005);
        assert_eq!(object(Failure::Internal).0, -32_603);
        assert_eq!(object(ViewError::Unknown(5, 4).into()), (-32_000, "header not found".to_owned(), None));
    }
}
