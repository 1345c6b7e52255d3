//! When a certificate ends.

use std::path::Path;

use x509_parser::pem::parse_x509_pem;

/// End of the first certificate in a PEM file, Unix time in seconds; `None` when there is none to be read.
pub(crate) fn expiry(file: &Path) -> Option<u64> {
    let bytes = std::fs::read(file).ok()?;
    let (_, pem) = parse_x509_pem(&bytes).ok()?;
    let certificate = pem.parse_x509().ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(expiry(file.path()), None);
        let mut params = rcgen::CertificateParams::new(vec!["storage.role.alys".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        assert_eq!(expiry(file.path()), Some(1_893_456_000));
    }
}
