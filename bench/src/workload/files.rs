//! Files with contents, written each whole: small ones, which fill one big directory that is
//! then listed, and medium ones.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::{Noise, dealt, stamp, timed};
use crate::options::Sizes;
use crate::samples::Meter;
use crate::served::Served;

const SMALL: usize = 4 << 10;
const MEDIUM: usize = 100 << 10;

pub(super) fn run(served: &mut Served, sizes: &Sizes, meter: &mut Meter) -> Result<()> {
    let small = served.dir().join("small");
    let medium = served.dir().join("medium");
    write("create files of 4 KiB", &small, SMALL, sizes.files, meter)?;
    write("create files of 100 KiB", &medium, MEDIUM, sizes.medium_files, meter)?;
    served.turn_cold()?;
    meter.operations("list names, cold", sizes.files, timed(|| list_names(&small, sizes.files))?);
    served.turn_cold()?;
    meter.operations("list with attributes, cold", sizes.files, timed(|| list_attributes(&small, sizes.files))?);
    meter.operations("list with attributes, warm", sizes.files, timed(|| list_attributes(&small, sizes.files))?);
    read("read files of 4 KiB", &small, SMALL, sizes.files, meter)?;
    read("read files of 100 KiB", &medium, MEDIUM, sizes.medium_files, meter)?;
    remove("unlink files of 4 KiB", &small, sizes.files, meter)?;
    remove("unlink files of 100 KiB", &medium, sizes.medium_files, meter)
}

fn name(number: u64) -> String {
    format!("file-{number:06}")
}

fn write(title: &str, dir: &Path, length: usize, count: u64, meter: &mut Meter) -> Result<()> {
    fs::create_dir(dir)?;
    let contents = Noise(3).bytes(length);
    let elapsed = dealt(1, count, |number| {
        let mut contents = contents.clone();
        stamp(&mut contents, number);
        Ok(fs::write(dir.join(name(number)), contents)?)
    })?;
    meter.operations(title, count, elapsed);
    Ok(())
}

fn read(title: &str, dir: &Path, length: usize, count: u64, meter: &mut Meter) -> Result<()> {
    let elapsed = dealt(1, count, |number| {
        let path = dir.join(name(number));
        let contents = fs::read(&path)?;
        let right = contents.len() == length && contents[..8] == number.to_le_bytes();
        ensure!(right, "{} holds other bytes than were written", path.display());
        Ok(())
    })?;
    meter.operations(title, count, elapsed);
    Ok(())
}

fn remove(title: &str, dir: &Path, count: u64, meter: &mut Meter) -> Result<()> {
    meter.operations(title, count, dealt(1, count, |number| Ok(fs::remove_file(dir.join(name(number)))?))?);
    Ok(())
}

fn list_names(dir: &Path, count: u64) -> Result<()> {
    let mut found = 0;
    for entry in fs::read_dir(dir)? {
        entry?;
        found += 1;
    }
    ensure!(found == count, "{} lists {found} of {count} names", dir.display());
    Ok(())
}

fn list_attributes(dir: &Path, count: u64) -> Result<()> {
    let mut found = 0;
    for entry in fs::read_dir(dir)? {
        ensure!(entry?.metadata()?.is_file(), "{} holds something that is no file", dir.display());
        found += 1;
    }
    ensure!(found == count, "{} lists {found} of {count} names", dir.display());
    Ok(())
}
