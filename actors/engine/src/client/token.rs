//! The token of each call of the Engine API: HS256 over the time, with the secret that both sides share.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonrpsee_http_client::{HeaderValue, HttpRequest};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use tower::{Layer, Service};

/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// What a token says. A client takes it within 60 seconds of its own clock.
#[derive(Serialize)]
struct Claims {
    /// Unix seconds.
    iat: u64,
}

/// The secret. `None`: calls go without a token, as to the Eth JSON-RPC.
#[derive(Clone)]
pub(super) struct Token(Option<Arc<EncodingKey>>);

impl Token {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// From the file that the client was started with.
    ///
    /// # Errors
    /// What to do about the file.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            format!("`engine.client.jwt_file`: {shown}: {error}. Make it with `openssl rand -hex 32 > {shown}` and start the client with it")
        })?;
        let digits = text.trim();
        match hex::decode(digits.strip_prefix("0x").unwrap_or(digits)) {
            Ok(secret) if secret.len() == SECRET_BYTES => Ok(Self(Some(Arc::new(EncodingKey::from_secret(&secret))))),
            _ => Err(format!("`engine.client.jwt_file`: {shown} is not {SECRET_BYTES} bytes in hex")),
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let token = encode(&Header::new(Algorithm::HS256), &Claims { iat: now }, self.0.as_deref()?).ok()?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl<S> Layer<S> for Token {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { token: self.clone(), inner }
    }
}

/// A service whose requests carry a token of their own time.
#[derive(Clone)]
pub(super) struct Authorized<S> {
    token: Token,
    inner: S,
}

impl<S, B> Service<HttpRequest<B>> for Authorized<S>
where
    S: Service<HttpRequest<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: HttpRequest<B>) -> S::Future {
        if let Some(header) = self.token.header() {
            request.headers_mut().insert("authorization", header);
        }
        self.inner.call(request)
    }
}
