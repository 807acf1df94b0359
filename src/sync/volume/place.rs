//! Where a volume is, as an address says it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use farshore_meta::engine::EngineUrl;
use farshore_sync::store::volume::{Owner, VolumeOptions, VolumeStore};
use farshore_sync::store::{Scheme, StoreAddress};
use farshore_sync::{StoreError, Timestamp};

use super::{Served, Use};
use crate::assembly;
use crate::cli::{BlocksFrom, TlsArgs};

/// Where a volume is, before it is opened.
#[derive(Debug, Clone)]
pub(in crate::sync) struct VolumePlace {
    pub(super) meta: EngineUrl,
    path: Vec<u8>,
    /// The region that META is to follow as a mirror, and where its blocks come from.
    pub(super) upstream: Option<String>,
    pub(super) blocks_from: BlocksFrom,
    tls: TlsSettings,
}

/// The files of mutual TLS.
#[derive(Debug, Clone, Default)]
struct TlsSettings {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl VolumePlace {
    /// Reads the address of a volume.
    pub(in crate::sync) fn of(address: &StoreAddress) -> Result<Self> {
        let meta = address.meta().context("a volume has a META")?;
        let wrong = |name: &str| {
            let known = "a volume takes upstream, blocks_from, tls_cert, tls_key, tls_ca and, with fdb://, prefix";
            StoreError::invalid(format!("the setting {name} of {address}"), known)
        };
        let mut place = Self {
            meta: assembly::engine_url(&meta)?,
            path: address.path.clone(),
            upstream: None,
            blocks_from: BlocksFrom::Upstream,
            tls: TlsSettings::default(),
        };
        for (name, value) in &address.settings {
            match (name.as_str(), value.as_str()) {
                ("upstream", url) => place.upstream = Some(url.to_owned()),
                ("blocks_from", "upstream") => place.blocks_from = BlocksFrom::Upstream,
                ("blocks_from", "store") => place.blocks_from = BlocksFrom::Store,
                ("tls_cert", file) => place.tls.cert = Some(file.into()),
                ("tls_key", file) => place.tls.key = Some(file.into()),
                ("tls_ca", file) => place.tls.ca = Some(file.into()),
                ("prefix", _) if matches!(place.meta, EngineUrl::FoundationDb { .. }) => {}
                (name, _) => return Err(wrong(name).into()),
            }
        }
        Ok(place)
    }

    /// How messages, reports and journals name it.
    pub(in crate::sync) fn name(&self) -> String {
        let meta = match &self.meta {
            EngineUrl::Embedded { path } => path.display().to_string(),
            url @ EngineUrl::FoundationDb { .. } => url.to_string(),
        };
        let (authority, settings) = match meta.split_once('?') {
            Some((authority, prefix)) => {
                let prefix = prefix.strip_prefix("prefix=").unwrap_or(prefix);
                (authority.to_owned(), vec![("prefix".to_owned(), prefix.to_owned())])
            }
            None => (meta, Vec::new()),
        };
        StoreAddress { scheme: Scheme::Farshore, authority, path: self.path.clone(), settings }.to_string()
    }

    /// The directory of an embedded engine.
    pub(in crate::sync) fn directory(&self) -> Option<&Path> {
        if let EngineUrl::Embedded { path } = &self.meta { Some(path) } else { None }
    }

    /// Whether both are of one volume that is not followed.
    pub(in crate::sync) fn is_beside(&self, other: &Self) -> bool {
        self.meta == other.meta && self.upstream.is_none() && other.upstream.is_none()
    }

    /// Whether one directory lies within the other.
    pub(in crate::sync) fn overlaps(&self, other: &Self) -> bool {
        let within = |path: &[u8]| [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat();
        let (one, two) = (within(&self.path), within(&other.path));
        let root = |path: &[u8]| path == b"/";
        self.meta == other.meta && (root(&one) || root(&two) || one.starts_with(&two) || two.starts_with(&one))
    }

    /// The files of mutual TLS with the upstream.
    pub(super) fn tls(&self) -> TlsArgs {
        let TlsSettings { cert, key, ca } = self.tls.clone();
        TlsArgs { tls_cert: cert, tls_key: key, tls_ca: ca, insecure: false }
    }

    /// Opens the directory of a volume that is served.
    pub(in crate::sync) async fn store(&self, served: &Served, use_as: Use) -> farshore_sync::Result<VolumeStore> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = VolumeOptions {
            name: self.name(),
            path: self.path.clone(),
            volume_id: served.settings.volume_id,
            owner: Owner { uid, gid },
            make: use_as == Use::Write,
        };
        let store = VolumeStore::open(Arc::clone(&served.volume), &options).await?;
        if use_as == Use::Write && !served.volume.read_only() {
            store.sweep(Timestamp::from(SystemTime::now())).await?;
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn place(text: &str) -> Result<VolumePlace> {
        VolumePlace::of(&text.parse::<StoreAddress>()?)
    }

    #[test]
    fn a_place_has_one_name_however_it_is_written() {
        let names: Vec<_> = ["farshore:///srv/meta//a/b", "farshore://embedded:///srv/meta//a/b"]
            .iter()
            .map(|text| place(text).unwrap().name())
            .collect();
        assert_eq!(names, ["farshore:///srv/meta//a/b"; 2]);
        let named = place("farshore://fdb:///etc/fdb.cluster//x?prefix=one").unwrap().name();
        assert_eq!(named, "farshore://fdb:///etc/fdb.cluster//x?prefix=one");
        for wrong in [
            "farshore:///m?colour=red",
            "farshore:///m?blocks_from=moon",
            "farshore://fdb:///x",
            "farshore:///m?prefix=x",
        ] {
            assert_eq!(crate::exit::code_of(&place(wrong).unwrap_err()), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn places_within_each_other_overlap() {
        let overlaps = |one: &str, other: &str| place(one).unwrap().overlaps(&place(other).unwrap());
        assert!(overlaps("farshore:///m", "farshore:///m//a") && overlaps("farshore:///m//a/b/", "farshore:///m//a"));
        assert!(
            !overlaps("farshore:///m//a", "farshore:///m//ab") && !overlaps("farshore:///m//a", "farshore:///n//a")
        );
    }
}
