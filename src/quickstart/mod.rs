//! `farshore quickstart`: a volume and its mirror on one machine, at work on real files.

mod compare;
mod copy;
mod source;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::QuickstartArgs;
use crate::exit::{Exit, Failure};
use crate::mounted;
use crate::output::say;
use crate::status::RegionStatus;
use crate::{control_names, units};
use stage::Stage;

/// How often the mirror is asked how far it is.
const POLL: Duration = Duration::from_millis(50);
/// Longest that the mirror may take to show what was copied.
const CATCH_UP: Duration = Duration::from_mins(10);

pub(crate) fn run(args: &QuickstartArgs) -> Result<()> {
    let stage = Stage::at(&args.dir)?;
    if args.clean {
        return stage.clean();
    }
    stage.make()?;
    say(&format!("a volume in {}", stage.root.display()));
    stage.start_primary()?;
    say(&format!("  primary   {}  (read and write)", stage.primary.display()));
    stage.start_mirror()?;
    say(&format!("  mirror    {}  (read-only, follows the primary)", stage.mirror.display()));

    let tree = source::choose(args.source.as_deref(), args.limit)?;
    let copied = copy_tree(&stage, &tree)?;
    let token = mounted::attribute(&stage.primary, control_names::TOKEN)?;
    let lag = catch_up(&stage, &token)?;
    say(&format!("mirror: shows all of it {} after the last byte was written", units::short_time(lag)));
    compare_trees(&stage, copied)?;
    print_next(&stage);
    Ok(())
}

fn copy_tree(stage: &Stage, tree: &source::Tree) -> Result<copy::Copied> {
    let bar = bytes_bar("copy", tree.bytes);
    let begun = Instant::now();
    let copied = copy::copy(tree, &stage.primary.join("tree"), &bar)?;
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!(
        "copied {} files, {} from {} in {seconds:.1} s: {:.0} files/s, {}/s",
        copied.files,
        units::size(copied.bytes),
        tree.root.display(),
        copied.files as f64 / seconds,
        units::size((copied.bytes as f64 / seconds) as u64),
    ));
    Ok(copied)
}

/// Waits until the mirror shows `token`; returns how long that took, in milliseconds.
fn catch_up(stage: &Stage, token: &str) -> Result<f64> {
    let begun = Instant::now();
    let position = token.parse().map_err(|error: farshore_proto::Malformed| anyhow::Error::new(error))?;
    let wanted = status(&stage.primary)?.used_inodes;
    let bar = ProgressBar::new(wanted).with_style(style("mirror {bar:32} {pos}/{len} inodes"));
    while begun.elapsed() < CATCH_UP {
        let wait = control_names::wait(POLL, position);
        if mounted::attribute(&stage.mirror, &wait)? == control_names::REACHED {
            bar.finish_and_clear();
            return Ok(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        bar.set_position(status(&stage.mirror)?.used_inodes);
    }
    let mirror = stage.mirror.display();
    bail!(Failure::error(Exit::TimedOut, format!("the mirror does not catch up; see `farshore status {mirror}`")))
}

fn compare_trees(stage: &Stage, copied: copy::Copied) -> Result<()> {
    let bar = bytes_bar("compare", copied.bytes);
    let begun = Instant::now();
    let found = compare::compare(&stage.primary.join("tree"), &stage.mirror.join("tree"), &bar)?;
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    for difference in found.differences.iter().take(10) {
        say(&format!("  differs: {}", difference.display()));
    }
    if !found.differences.is_empty() {
        bail!("{} of {} entries differ between primary and mirror", found.differences.len(), found.entries);
    }
    say(&format!(
        "compared {} entries on both, names, attributes and {} of contents: identical, in {seconds:.1} s",
        found.entries,
        units::size(found.bytes),
    ));
    let lag = status(&stage.mirror)?.staleness_ms;
    if let Some(lag) = lag {
        say(&format!("mirror: everything older than {} is visible on it", units::short_time(lag)));
    }
    Ok(())
}

fn status(mount: &std::path::Path) -> Result<RegionStatus> {
    Ok(serde_json::from_str(&mounted::attribute(mount, control_names::STATUS)?)?)
}

fn bytes_bar(what: &str, bytes: u64) -> ProgressBar {
    let template = format!("{what:8}{{bar:32}} {{bytes}}/{{total_bytes}}  {{bytes_per_sec}}  {{eta}} left");
    ProgressBar::new(bytes).with_style(style(&template))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print_next(stage: &Stage) {
    let (primary, mirror) = (stage.primary.display(), stage.mirror.display());
    say("next, to try:");
    say(&format!(
        "  echo hello > {primary}/hello && farshore wait {mirror} $(farshore token {primary}) && cat {mirror}/hello"
    ));
    say(&format!("  farshore status {mirror}"));
    say(&format!("  farshore quickstart --clean {}", stage.root.display()));
}
