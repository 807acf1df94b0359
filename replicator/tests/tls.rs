//! Mutual TLS: who shows a certificate of the right authority is served, and nobody else.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;

use farshore_replicator::{Lineage, Publisher, ReplicatorError, TlsOptions, Upstream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A certificate of this authority, for a side that trusts `peers`.
    fn issue(&self, peers: &Self) -> TlsOptions {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        TlsOptions { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes(), peer_ca: peers.pem() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_the_right_authority_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let (ours, others) = (Authority::new(), Authority::new());
    let mut options = options();
    options.tls = Some(ours.issue(&ours));
    let blocks = Arc::new(Blocks::default());
    let publisher = Publisher::start(Arc::clone(&region), blocks, Lineage::primary(), &options).await.unwrap();
    let port = publisher.address().port();
    let at = |tls: &TlsOptions| Upstream::new(&format!("https://localhost:{port}"), Some(tls)).unwrap();

    let mirror = Mirror::start(&directory.path().join("mirror"), &at(&ours.issue(&ours))).await;
    mirror.ready().await;
    make_files(&region, "some", 20).await;
    mirror.catches_up_with(&region).await;

    let stranger = at(&others.issue(&ours)).describe().await.unwrap_err();
    assert!(matches!(stranger, ReplicatorError::Unreachable { .. }), "{stranger}");
    let deceived = at(&ours.issue(&others)).describe().await.unwrap_err();
    assert!(deceived.to_string().contains("certificate"), "{deceived}");
    let plain = Upstream::new(&format!("http://127.0.0.1:{port}"), None).unwrap();
    assert!(plain.describe().await.is_err());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(&directory.path().join("primary")).await;
    let mut options = options();
    let authority = Authority::new();
    options.tls = Some(TlsOptions { key: b"no key".to_vec(), ..authority.issue(&authority) });
    let started = Publisher::start(region, Arc::new(Blocks::default()), Lineage::primary(), &options).await;
    let error = started.unwrap_err();
    assert!(matches!(error, ReplicatorError::Tls { .. }), "{error}");
}
