//! Reading the certificates that the command line names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use farshore_replicator::TlsOptions;

use crate::cli::TlsArgs;
use crate::exit::{Exit, Failure};

/// Both sides of mutual TLS, or neither.
pub(crate) fn read(args: &TlsArgs) -> Result<Option<TlsOptions>> {
    match (&args.tls_cert, &args.tls_key, &args.tls_ca) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), Some(ca)) => {
            Ok(Some(TlsOptions { cert: pem(cert)?, key: pem(key)?, peer_ca: pem(ca)? }))
        }
        _ => bail!(Failure::error(Exit::Usage, "TLS is mutual: give --tls-cert, --tls-key and --tls-ca together")),
    }
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
