//! HTTP basic authentication.

use std::path::{Path, PathBuf};

use bitcoin::base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::hashes::{Hash as _, sha256};
use http::{HeaderValue, StatusCode};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower_http::validate_request::ValidateRequest;
use zeroize::Zeroizing;

/// Why the file with user and password cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// Not there, or not ours to read.
    #[error("cannot read `chain.mining.auth_file` {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("{0} may be read by others; run `chmod 600 {0}`")]
    Exposed(PathBuf),
    /// Another form.
    #[error("{0} is not one line `user:password`")]
    Malformed(PathBuf),
}

/// Lets requests with the one right header through. Digests are compared, so that the time it takes says nothing.
#[derive(Clone, Debug)]
pub(super) struct Basic {
    expected: sha256::Hash,
}

impl Basic {
    /// From the file.
    pub(super) fn load(path: &Path) -> Result<Self, AuthError> {
        let unreadable = |source| AuthError::Unreadable { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !alys_cluster::private::is_private(&metadata) {
            return Err(AuthError::Exposed(path.to_owned()));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
        let line = text.trim();
        if !line.contains(':') || line.contains('\n') {
            return Err(AuthError::Malformed(path.to_owned()));
        }
        let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(line)));
        Ok(Self { expected: sha256::Hash::hash(header.as_bytes()) })
    }
}

impl<B> ValidateRequest<B> for Basic {
    type ResponseBody = HttpBody;

    fn validate(&mut self, request: &mut HttpRequest<B>) -> Result<(), HttpResponse<HttpBody>> {
        let given = request.headers().get("authorization").map(|value| sha256::Hash::hash(value.as_bytes()));
        if given == Some(self.expected) {
            return Ok(());
        }
        let mut refused = HttpResponse::new(HttpBody::from("user and password are needed\n"));
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        refused.headers_mut().insert("www-authenticate", HeaderValue::from_static("Basic realm=\"alys\""));
        Err(refused)
    }
}
