//! `farshore-bench sync`: moving many small and some large objects, beside the tools that a user would pick instead.
//!
//! Every tool moves the same tree on every route in turn, round after round, each to an empty place; then once more
//! with nothing to do. Each round begins with another tool. Wall time, CPU time of the tool alone, and its peak memory
//! are told. Small files are removed only at the end: ext4 is slow to give out inodes that were just freed.

mod made_up;
mod process;
mod tool;
pub(crate) mod workers;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::made_up::{MadeUp, Shape};
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
    /// The size of one object that is moved alone, in MiB
    #[arg(long, default_value_t = 2048)]
    huge: u32,
    /// How many made-up objects are listed and compared on each side, of which none differs
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000])]
    listed: Vec<u64>,
    /// Which routes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Route::ALL)]
    routes: Vec<Route>,
    /// Where everything is put while it runs; the system's temporary directory without it
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Route {
    /// To a cloud; the routes from there need it.
    LocalToS3,
    /// From there to a directory.
    S3ToLocal,
    /// From there to another cloud.
    S3ToS3,
    /// From a directory to another.
    LocalToLocal,
}

/// A tree of files of one size.
#[derive(Debug, Clone, Copy)]
struct Tree {
    title: &'static str,
    count: u32,
    bytes: usize,
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
    let clouds = ["one", "two"].map(|name| -> Result<Stores> {
        fs::create_dir(home.join(name))?;
        Stores::start(StoreKind::S3, &home.join(name), &programs)
    });
    let [one, two] = clouds;
    let clouds = [one?, two?];
    let (mut rows, mut troubles) = (Vec::new(), Vec::new());
    let trees = [
        Tree { title: "1 KiB", count: options.small, bytes: 1 << 10 },
        Tree { title: "1 MiB", count: options.large, bytes: 1 << 20 },
        Tree { title: "one large", count: options.huge.min(1), bytes: (options.huge as usize) << 20 },
    ];
    for tree in trees.into_iter().filter(|tree| tree.count > 0) {
        measure_tree(options, home, tree, &clouds, &mut rows, &mut troubles)?;
    }
    for count in options.listed.iter().copied().filter(|count| *count > 0) {
        for shape in [Shape::Flat, Shape::Deep] {
            measure_listing(options, MadeUp { shape, count }, &mut rows, &mut troubles)?;
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

fn measure_tree(
    options: &SyncOptions,
    home: &Path,
    tree: Tree,
    clouds: &[Stores; 2],
    rows: &mut Vec<Row>,
    troubles: &mut Vec<String>,
) -> Result<()> {
    let Tree { title, count, bytes } = tree;
    let planted = home.join(title.replace(' ', "-"));
    plant(&planted, count, bytes)?;
    let mut left = Vec::new();
    let mut tools = options.tools.clone();
    for round in 1..=options.rounds {
        for route in options.routes.iter().copied() {
            for tool in tools.iter().copied() {
                note(&format!("round {round}/{}: {title}, {route:?}, {tool}", options.rounds));
                let place = home.join(format!("{tool}-{route:?}-{round}"));
                for (pass, spent) in run(tool, route, &planted, &place, round, clouds)? {
                    let what = format!("{count} x {title}, {}{pass}", route.name());
                    match spent {
                        Ok(spent) => add(rows, what, tool, count, spent),
                        Err(error) => troubles.push(format!("- {tool}, {what}: {error:#}\n")),
                    }
                }
                if bytes < 1 << 20 {
                    left.push(place);
                } else {
                    remove(&place)?;
                }
            }
        }
        tools.rotate_left(1);
    }
    left.push(planted);
    left.iter().try_for_each(|place| remove(place))
}

/// Compares two buckets of made-up objects, where nothing is to be copied.
fn measure_listing(
    options: &SyncOptions,
    listed: MadeUp,
    rows: &mut Vec<Row>,
    troubles: &mut Vec<String>,
) -> Result<()> {
    let [one, two] = [made_up::serve(listed)?, made_up::serve(listed)?].map(Stores::Inside);
    let what = format!("{} listed, {:?}", listed.count, listed.shape);
    let mut tools = options.tools.clone();
    for round in 1..=options.rounds {
        for tool in tools.iter().copied() {
            note(&format!("round {round}/{}: {what}, {tool}", options.rounds));
            let [from, to] = [&one, &two].map(|cloud| Place::S3(cloud, made_up::PREFIX.to_owned()));
            let Some(mut command) = tool.command(&from, &to) else { continue };
            match process::run(tool.comparing_sizes(&mut command), None) {
                Ok(spent) => add(rows, what.clone(), tool, listed.count as u32, spent),
                Err(error) => troubles.push(format!("- {tool}, {what}: {error:#}\n")),
            }
        }
        tools.rotate_left(1);
    }
    Ok(())
}

fn remove(place: &Path) -> Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot clear {}", place.display()))
        }
        _ => Ok(()),
    }
}

/// One tool's passes on a route: the first, and one with nothing to do. None where the tool does not have the route.
fn run(
    tool: Tool,
    route: Route,
    tree: &Path,
    place: &Path,
    round: u32,
    [one, two]: &[Stores; 2],
) -> Result<Vec<(&'static str, Result<Spent>)>> {
    let leaf = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // What a tool brings to the first cloud in a round is what it takes from there.
    let prefix = format!("{tool}-{round}/{}", leaf(tree));
    let (source, target) = (Place::Local(tree.to_owned()), Place::Local(place.join(leaf(tree))));
    let (from, to) = match route {
        Route::LocalToS3 => (source, Place::S3(one, prefix)),
        Route::S3ToLocal => (Place::S3(one, prefix), target),
        Route::S3ToS3 => (Place::S3(one, prefix.clone()), Place::S3(two, prefix)),
        Route::LocalToLocal => (source, target),
    };
    let Some(mut command) = tool.command(&from, &to) else { return Ok(Vec::new()) };
    let written = if let Place::Local(path) = &to { Some(path.as_path()) } else { None };
    fs::create_dir_all(place.join(leaf(tree)))?;
    let mut passes = Vec::new();
    for pass in ["", ", again"] {
        machine::settle(place)?;
        passes.push((pass, process::run(&mut command, written)));
    }
    Ok(passes)
}

fn add(rows: &mut Vec<Row>, what: String, tool: Tool, objects: u32, spent: Spent) {
    match rows.iter_mut().find(|row| row.what == what && row.tool == tool) {
        Some(row) => row.spent.push(spent),
        None => rows.push(Row { what, tool, objects, spent: vec![spent] }),
    }
}

fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let head = [
        "what",
        "tool",
        "s",
        "s, on disk",
        "objects/s",
        "times as long as farshore",
        "and on disk",
        "CPU s",
        "CPU ms/object",
        "peak MiB",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut whats: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    whats.dedup();
    whats.sort_unstable();
    whats.dedup();
    for what in whats {
        let of_this = rows.iter().filter(|row| row.what == what);
        let ours = of_this.clone().find(|row| row.tool == Tool::Farshore);
        let ours = ours.map(|row| (row.seconds(), row.seconds_to_disk()));
        for row in of_this {
            let (seconds, to_disk) = (row.seconds(), row.seconds_to_disk());
            let cpu = row.median(|spent| spent.cpu.as_secs_f64());
            let times = |ours: Option<f64>, theirs: f64| {
                ours.map_or_else(|| "-".to_owned(), |ours| format!("{:.2}", theirs / ours))
            };
            let objects = f64::from(row.objects);
            lines.push(vec![
                what.to_owned(),
                row.tool.to_string(),
                number(seconds),
                number(to_disk),
                number(objects / seconds),
                times(ours.map(|ours| ours.0), seconds),
                times(ours.map(|ours| ours.1), to_disk),
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
    let mut piece = vec![0_u8; bytes.min(1 << 20)];
    for number in 0..count {
        let directory = tree.join(format!("{:04}", number / 1_000));
        fs::create_dir_all(&directory)?;
        let mut file = fs::File::create(directory.join(format!("{number:08}")))?;
        for at in 0..bytes.div_ceil(piece.len()) {
            fill(&mut piece, number ^ at as u32);
            file.write_all(&piece)?;
        }
    }
    Ok(())
}

fn fill(piece: &mut [u8], seed: u32) {
    piece.iter_mut().zip(0_u32..).for_each(|(byte, at)| *byte = ((seed ^ at).wrapping_mul(0x9E37_79B1) >> 24) as u8);
}

impl Row {
    fn seconds(&self) -> f64 {
        self.median(|spent| spent.wall.as_secs_f64())
    }

    fn seconds_to_disk(&self) -> f64 {
        self.median(|spent| spent.durable.as_secs_f64())
    }

    fn median(&self, value: impl Fn(&Spent) -> f64) -> f64 {
        median(self.spent.iter().map(value).collect()).unwrap_or_default()
    }
}

impl Route {
    const ALL: [Self; 4] = [Self::LocalToS3, Self::S3ToLocal, Self::S3ToS3, Self::LocalToLocal];

    fn name(self) -> &'static str {
        match self {
            Self::LocalToS3 => "local to S3",
            Self::S3ToLocal => "S3 to local",
            Self::S3ToS3 => "S3 to S3",
            Self::LocalToLocal => "local to local",
        }
    }
}

fn note(line: &str) {
    // Nobody can be told that standard error does not work.
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}
