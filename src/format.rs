//! `farshore format`: makes a new volume.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use farshore_blocks::{BlockKey, BlockStore, StoreOptions, StoreUrl};
use farshore_meta::engine::{Engine, EngineError};
use farshore_meta::{Compression, NewVolume, Region, Settings, UnixTime};
use farshore_proto::limits::{GROUP_BYTES, MAX_BLOCK_BYTES, MAX_INLINE_BYTES, MIN_BLOCK_BYTES};
use farshore_proto::{RegionId, VolumeId};

use crate::assembly;
use crate::cli::{CompressionArg, DurabilityArg, FormatArgs};
use crate::exit::{Exit, Failure};
use crate::output::say;
use crate::units;

pub(crate) async fn run(args: &FormatArgs) -> Result<()> {
    let settings = settings(args)?;
    probe_store(args, &settings).await?;
    let region = make(args, &settings).await?;
    assembly::close(&region).await?;
    say(&format!("volume {} ({}) is ready", settings.name, settings.volume_id));
    say(&format!("  metadata  {}", args.meta));
    say(&format!("  blocks    {}, up to {} each", settings.store, units::size(settings.block_bytes.into())));
    say(&format!("next: farshore mount {} DIR", args.meta));
    Ok(())
}

fn settings(args: &FormatArgs) -> Result<Settings> {
    let store = store_url(&args.store)?;
    Ok(Settings {
        volume_id: VolumeId::from_random(rand::random()),
        name: checked_name(&args.name)?,
        store: store.to_string(),
        block_key: rand::random(),
        block_bytes: checked_block_bytes(args.block_size)?,
        inline_bytes: checked_inline_bytes(args.inline_limit)?,
        compression: match args.compress {
            CompressionArg::None => Compression::None,
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        },
    })
}

fn store_url(text: &str) -> Result<StoreUrl> {
    let is_path = !text.contains("://") && !text.is_empty();
    if is_path {
        let path = std::path::absolute(text).with_context(|| format!("{text:?} is no path"))?;
        return Ok(StoreUrl::directory(&path)?);
    }
    Ok(text.parse()?)
}

fn checked_name(name: &str) -> Result<String> {
    let fine = (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !fine {
        bail!(Failure::error(
            Exit::Usage,
            format!("the name {name:?} must be 1 to 64 letters, digits, `-`, `_` or `.`")
        ));
    }
    Ok(name.to_owned())
}

fn checked_block_bytes(bytes: u64) -> Result<u32> {
    let range = u64::from(MIN_BLOCK_BYTES)..=u64::from(MAX_BLOCK_BYTES);
    if !range.contains(&bytes) || !bytes.is_multiple_of(u64::from(GROUP_BYTES)) {
        let message = format!("a block size of {bytes} bytes: it must be a multiple of 64 KiB from 64 KiB to 16 MiB");
        bail!(Failure::error(Exit::Usage, message));
    }
    Ok(bytes as u32)
}

fn checked_inline_bytes(bytes: u64) -> Result<u32> {
    if bytes > u64::from(MAX_INLINE_BYTES) {
        let message = format!("an inline limit of {bytes} bytes: it must not be over 64 KiB");
        bail!(Failure::error(Exit::Usage, message));
    }
    Ok(bytes as u32)
}

/// Writes to the store, reads back and deletes, before anything is made.
async fn probe_store(args: &FormatArgs, settings: &Settings) -> Result<()> {
    let url = store_url(&args.store)?;
    let options = StoreOptions { create_directory: true, ..StoreOptions::default() };
    let store = BlockStore::open(&url, settings.volume_id, BlockKey::new(settings.block_key), &options)?;
    store.probe().await?;
    if args.store != settings.store && url.to_secret_string() != settings.store {
        tracing::warn!("credentials in the URL are not kept; give them in the environment when mounting");
    }
    Ok(())
}

async fn make(args: &FormatArgs, settings: &Settings) -> Result<Region> {
    let engine = empty_engine(&args.meta).await?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let new = NewVolume {
        settings: settings.clone(),
        region_id: RegionId::from_random(rand::random()),
        incarnation_random: rand::random(),
        uid,
        gid,
        now: now(),
    };
    Ok(farshore_meta::format(engine, &new).await?)
}

/// A new engine, or one that an earlier `format` made and was killed before it wrote the volume.
async fn empty_engine(meta: &str) -> Result<Arc<dyn Engine>> {
    let (url, options) = (assembly::engine_url(meta)?, assembly::engine_options(DurabilityArg::Commit));
    let refused = match url.create(&options).await {
        Ok(engine) => return Ok(engine),
        Err(refused @ EngineError::Exists { .. }) => refused,
        Err(other) => return Err(other.into()),
    };
    let Ok(engine) = url.open(&options).await else { return Err(refused.into()) };
    if Region::find(&engine).await?.is_none() {
        return Ok(engine);
    }
    engine.close().await?;
    Err(refused.into())
}

fn now() -> UnixTime {
    (farshore_volume::VolumeOptions::default().clock)()
}
