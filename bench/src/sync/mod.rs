//! `farshore-bench sync`: moving many small and some large objects, beside the tools that a user would pick instead.
//!
//! Every tool moves the same tree on every route in turn, round after round, each to an empty place; then once more
//! with nothing to do. Wall time, CPU time of the tool alone, and its peak memory are told.

mod process;
mod tool;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use self::process::Spent;
use self::tool::{Place, Tool};
use crate::machine::{self, Machine};
use crate::options::StoreKind;
use crate::programs::Programs;
use crate::samples::median;
use crate::store::Stores;
use crate::table::{aligned, number};

/// What `farshore-bench sync` can be told.
#[derive(Debug, Args)]
pub(crate) struct SyncOptions {
    /// Whom to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Tool::ALL)]
    tools: Vec<Tool>,
    /// How often to measure everything
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Objects of 1 KiB
    #[arg(long, default_value_t = 10_000)]
    small: u32,
    /// Objects of 1 MiB
    #[arg(long, default_value_t = 500)]
    large: u32,
    /// Where everything is put while it runs; the system's temporary directory without it
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    LocalToS3,
    S3ToLocal,
    LocalToLocal,
}

/// What one tool took on one route with one tree.
struct Row {
    what: String,
    tool: Tool,
    objects: u32,
    spent: Vec<Spent>,
}

/// Measures everything below `home`; the tables, as Markdown.
pub(crate) fn measure(options: &SyncOptions, home: &Path) -> Result<String> {
    let programs = Programs::find();
    let stores = Stores::start(StoreKind::S3, home, &programs)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut troubles: Vec<String> = Vec::new();
    for (title, count, bytes) in [("1 KiB", options.small, 1 << 10), ("1 MiB", options.large, 1 << 20)] {
        let tree = home.join(title.replace(' ', "-"));
        plant(&tree, count, bytes)?;
        for round in 1..=options.rounds {
            for route in [Route::LocalToS3, Route::S3ToLocal, Route::LocalToLocal] {
                for tool in options.tools.iter().copied() {
                    note(&format!("round {round}/{}: {title}, {route:?}, {tool}", options.rounds));
                    let place = home.join(format!("{tool}-{round}"));
                    for (pass, spent) in run(tool, route, &tree, &place, &stores)? {
                        let what = format!("{count} x {title}, {}{pass}", route.name());
                        match spent {
                            Ok(spent) => add(&mut rows, what, tool, count, spent),
                            Err(error) => troubles.push(format!("- {tool}, {what}: {error:#}\n")),
                        }
                    }
                }
            }
        }
    }
    troubles.sort();
    troubles.dedup();
    let machine = Machine::look(home, StoreKind::S3, &programs);
    // The machine's lines have those of the programs that other workloads need too.
    let own = options.tools.iter().filter(|tool| matches!(tool, Tool::Rclone | Tool::S5cmd));
    let versions: Vec<_> = own.filter_map(|tool| tool.version()).collect();
    let head = format!("Machine: {}; {}.\n\n", machine.lines.join("; "), versions.join("; "));
    Ok(head + &aligned(&table(&rows)) + "\n" + &troubles.concat())
}

/// One tool's passes on a route: the first, and one with nothing to do. None where the tool does not have the route.
fn run(
    tool: Tool,
    route: Route,
    tree: &Path,
    place: &Path,
    stores: &Stores,
) -> Result<Vec<(&'static str, Result<Spent>)>> {
    let leaf = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let prefix = format!("{}/{}", leaf(place), leaf(tree));
    let local = place.join(leaf(tree));
    let (from, to) = match route {
        Route::LocalToS3 => (Place::Local(tree.to_owned()), Place::S3(prefix)),
        Route::S3ToLocal => (Place::S3(prefix), Place::Local(local.clone())),
        Route::LocalToLocal => (Place::Local(tree.to_owned()), Place::Local(local.clone())),
    };
    let Some(mut command) = tool.command(&from, &to, stores) else { return Ok(Vec::new()) };
    fs::create_dir_all(&local)?;
    let mut passes = Vec::new();
    for pass in ["", ", again"] {
        machine::settle(place)?;
        passes.push((pass, process::run(&mut command)));
    }
    fs::remove_dir_all(place).with_context(|| format!("cannot clear {}", place.display()))?;
    Ok(passes)
}

fn add(rows: &mut Vec<Row>, what: String, tool: Tool, objects: u32, spent: Spent) {
    match rows.iter_mut().find(|row| row.what == what && row.tool == tool) {
        Some(row) => row.spent.push(spent),
        None => rows.push(Row { what, tool, objects, spent: vec![spent] }),
    }
}

fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let head = ["what", "tool", "s", "objects/s", "times as long as farshore", "CPU s", "CPU ms/object", "peak MiB"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut whats: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    whats.dedup();
    whats.sort_unstable();
    whats.dedup();
    for what in whats {
        let of_this = rows.iter().filter(|row| row.what == what);
        let ours = of_this.clone().find(|row| row.tool == Tool::Farshore).map(Row::seconds);
        for row in of_this {
            let (seconds, cpu) = (row.seconds(), row.median(|spent| spent.cpu.as_secs_f64()));
            let ratio = ours.map_or_else(|| "-".to_owned(), |ours| format!("{:.2}", seconds / ours));
            let objects = f64::from(row.objects);
            lines.push(vec![
                what.to_owned(),
                row.tool.to_string(),
                number(seconds),
                number(objects / seconds),
                ratio,
                number(cpu),
                number(cpu * 1e3 / objects),
                number(row.median(|spent| spent.peak_bytes as f64) / f64::from(1 << 20)),
            ]);
        }
    }
    lines
}

/// Fills a directory with `count` files of `bytes` each, a thousand to a directory.
fn plant(tree: &Path, count: u32, bytes: usize) -> Result<()> {
    let mut contents = vec![0_u8; bytes];
    for number in 0..count {
        let directory = tree.join(format!("{:04}", number / 1_000));
        fs::create_dir_all(&directory)?;
        contents.iter_mut().zip(0_u32..).for_each(|(byte, at)| {
            *byte = ((number ^ at).wrapping_mul(0x9E37_79B1) >> 24) as u8;
        });
        fs::write(directory.join(format!("{number:08}")), &contents)?;
    }
    Ok(())
}

impl Row {
    fn seconds(&self) -> f64 {
        self.median(|spent| spent.wall.as_secs_f64())
    }

    fn median(&self, value: impl Fn(&Spent) -> f64) -> f64 {
        median(self.spent.iter().map(value).collect()).unwrap_or_default()
    }
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::LocalToS3 => "local to S3",
            Self::S3ToLocal => "S3 to local",
            Self::LocalToLocal => "local to local",
        }
    }
}

fn note(line: &str) {
    // Nobody can be told that standard error does not work.
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}
