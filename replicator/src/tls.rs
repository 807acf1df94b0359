//! Mutual TLS on both sides of the wire, and where it may be left out.
//!
//! Each side shows a certificate, and checks that the other's comes from an authority of the
//! operator's own choice; the system's authorities are not asked.

use std::net::SocketAddr;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::error::{ReplicatorError, Result};

/// One side's certificate and key, and the authority that the other side's must come from. PEM.
#[derive(Clone)]
pub struct TlsOptions {
    /// This side's certificate, with the chain up to its authority if there is one between.
    pub cert: Vec<u8>,
    /// The certificate's private key.
    pub key: Vec<u8>,
    /// The authority of the other side's certificate.
    pub peer_ca: Vec<u8>,
}

impl std::fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsOptions(secret)")
    }
}

impl TlsOptions {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert, &self.key)
    }

    fn authority(&self) -> Certificate {
        Certificate::from_pem(&self.peer_ca)
    }

    /// For the side that listens.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity()).client_ca_root(self.authority())
    }

    /// For the side that calls.
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(self.authority())
    }
}

pub(crate) fn tls_error(error: &tonic::transport::Error) -> ReplicatorError {
    ReplicatorError::Tls { reason: with_sources(error) }
}

/// An error and its causes in one line: tonic's own texts say only "transport error".
pub fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = source.source();
    }
    text
}

/// Whether a publisher may listen at `address`: beyond this machine only with TLS, or when a
/// person has said that it shall be open.
///
/// # Errors
/// `Insecure`.
pub fn check_listen(address: SocketAddr, has_tls: bool, insecure: bool) -> Result<()> {
    if has_tls || insecure || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(ReplicatorError::Insecure { address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_tls() {
        let check = |address: &str, tls, insecure| check_listen(address.parse().unwrap(), tls, insecure).is_ok();
        assert!(check("127.0.0.1:0", false, false) && check("[::1]:7440", false, false));
        assert!(check("[::ffff:127.0.0.1]:7440", false, false));
        assert!(!check("0.0.0.0:7440", false, false) && !check("[::]:7440", false, false));
        assert!(check("0.0.0.0:7440", true, false) && check("10.0.0.1:7440", false, true));
    }
}
