//! Empty files spread over directories: create, stat cold and warm, unlink; by one thread and
//! by several.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{THREADS, dealt};
use crate::options::Sizes;
use crate::samples::Meter;
use crate::served::Served;

pub(super) fn run(served: &mut Served, sizes: &Sizes, meter: &mut Meter) -> Result<()> {
    let (count, root) = (sizes.files, served.dir());
    let one = make_directories(&root.join("one"), sizes)?;
    meter.operations("create empty files", count, dealt(1, count, |number| create(&one, number))?);
    let several = make_directories(&root.join("several"), sizes)?;
    meter.operations(
        &on_threads("create empty files"),
        count,
        dealt(THREADS, count, |number| create(&several, number))?,
    );
    stat(served, sizes, meter, &one, 1, &str::to_owned)?;
    stat(served, sizes, meter, &several, THREADS, &on_threads)?;
    meter.operations("unlink empty files", count, dealt(1, count, |number| Ok(fs::remove_file(file(&one, number))?))?);
    let unlinked = dealt(THREADS, count, |number| Ok(fs::remove_file(file(&several, number))?))?;
    meter.operations(&on_threads("unlink empty files"), count, unlinked);
    Ok(())
}

fn on_threads(title: &str) -> String {
    format!("{title}, {THREADS} threads")
}

fn stat(
    served: &mut Served,
    sizes: &Sizes,
    meter: &mut Meter,
    dirs: &[PathBuf],
    threads: u64,
    title: &dyn Fn(&str) -> String,
) -> Result<()> {
    let look = |number: u64| fs::symlink_metadata(file(dirs, number % sizes.files)).map(drop).map_err(Into::into);
    served.turn_cold()?;
    meter.operations(&title("stat, cold"), sizes.files, dealt(threads, sizes.files, look)?);
    let warm = sizes.files * sizes.warm_passes;
    meter.operations(&title("stat, warm"), warm, dealt(threads, warm, look)?);
    Ok(())
}

fn make_directories(root: &Path, sizes: &Sizes) -> Result<Vec<PathBuf>> {
    let dirs: Vec<PathBuf> = (0..sizes.directories).map(|number| root.join(number.to_string())).collect();
    for dir in &dirs {
        fs::create_dir_all(dir)?;
    }
    Ok(dirs)
}

fn file(dirs: &[PathBuf], number: u64) -> PathBuf {
    dirs[number as usize % dirs.len()].join(format!("file-{number:06}"))
}

fn create(dirs: &[PathBuf], number: u64) -> Result<()> {
    File::create_new(file(dirs, number))?;
    Ok(())
}
