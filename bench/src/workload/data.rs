//! One big file: written in sequence and synced, read cold and warm, read at random.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, ensure};

use super::{Noise, stamp, timed};
use crate::options::Sizes;
use crate::samples::Meter;
use crate::served::Served;

const CHUNK: usize = 1 << 20;
const PAGE: u64 = 4 << 10;

pub(super) fn run(served: &mut Served, sizes: &Sizes, meter: &mut Meter) -> Result<()> {
    let path = served.dir().join("big");
    let bytes = sizes.sequential_bytes;
    let mebibytes = bytes >> 20;
    meter.bytes(&format!("write {mebibytes} MiB, fsync"), bytes, timed(|| write(&path, bytes))?);
    served.turn_cold()?;
    meter.bytes(&format!("read {mebibytes} MiB, cold"), bytes, timed(|| read(&path, bytes))?);
    meter.bytes(&format!("read {mebibytes} MiB, warm"), bytes, timed(|| read(&path, bytes))?);
    served.turn_cold()?;
    let random = timed(|| read_at_random(&path, sizes))?;
    meter.operations(
        &format!("read 4 KiB at random in {} MiB, cold", sizes.random_bytes >> 20),
        sizes.random_reads,
        random,
    );
    Ok(())
}

fn write(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut chunk = Noise(1).bytes(CHUNK);
    for number in 0..bytes / CHUNK as u64 {
        stamp(&mut chunk, number);
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok(())
}

fn read(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    for number in 0..bytes / CHUNK as u64 {
        file.read_exact(&mut chunk)?;
        ensure!(chunk[..8] == number.to_le_bytes(), "{} holds other bytes than were written", path.display());
    }
    Ok(())
}

fn read_at_random(path: &Path, sizes: &Sizes) -> Result<()> {
    let file = File::open(path)?;
    let mut page = vec![0; PAGE as usize];
    let mut noise = Noise(2);
    for _ in 0..sizes.random_reads {
        let offset = noise.next() % (sizes.random_bytes / PAGE) * PAGE;
        file.read_exact_at(&mut page, offset)?;
        ensure!(
            page[..8] == (offset / CHUNK as u64).to_le_bytes(),
            "{} holds other bytes than were written",
            path.display()
        );
    }
    Ok(())
}
