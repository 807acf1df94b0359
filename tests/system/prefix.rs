//! A mirror's reader sees the primary's history as a prefix: an effect never without its causes.
//!
//! One directory: a listing that fits one request is read at one position, so while tokens are
//! only renamed within a directory, every listing has all of them, each once.
//!
//! Two directories: two listings are read one after the other, so at two positions, the second
//! no earlier. A single writer works in steps. In step `n` it moves every token, one by one
//! and in order, from one side to the other (from left to right when `n` is even), and then
//! renames the step's marker to `n + 1`. A reader that lists the marker as `n` before and
//! after what it looks at knows that all of it was read within step `n`, in which a token can only
//! move once, and forwards:
//! - source listed first, target second: a token missing at the source has moved already, so
//!   it is at the target: none is missing from both;
//! - target first, source second: a token at the target has left the source: none is in both;
//! - tokens move in order, so the moved ones of any listing are the first ones.
//!
//! Listings are used because they come from the region every time. Names that the kernel has
//! cached follow a moment later, when they are invalidated; what holds of them is tested by
//! waiting for tokens (`fresh.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::region::{Region, assert_equal};
use crate::scale;
use crate::shore::Shore;

/// Tokens of each kind: few enough for a listing of all to fit one request.
const TOKENS: u64 = 12;
const READERS: usize = 2;
/// Between two moves, so that many readings fall within one step.
const PAUSE: Duration = Duration::from_micros(400);

#[test]
fn a_reader_of_the_mirror_never_sees_an_effect_without_its_cause() {
    let wanted = scale::pick(2_000, 100_000);
    let shore = Shore::new("prefix", Duration::from_secs(scale::pick(120, 1_800)));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    prepare(&primary);
    mirror.catch_up(&primary);

    let (stop, moves) = (AtomicBool::new(false), AtomicU64::new(0));
    let checks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| while_not(&stop, |step| move_all(&primary, step, &moves)));
        scope.spawn(|| while_not(&stop, |step| rename_within(&primary, step, &moves)));
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(|| read(&mirror, wanted, &checks))).collect();
        let done: Vec<_> = readers.into_iter().map(|reader| reader.join().is_ok()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(done.into_iter().all(|fine| fine), "a reader saw what never was");
    });
    let (checks, moves) = (checks.into_inner(), moves.into_inner());
    eprintln!("prefix: {checks} checks held while {moves} renames went on");
    assert_equal(&primary, &mirror);
}

fn prepare(primary: &Region) {
    for dir in ["within", "left", "right", "step"] {
        fs::create_dir(primary.path(dir)).unwrap();
    }
    for token in 0..TOKENS {
        fs::write(primary.path(format!("within/{token:02}.0")), "token").unwrap();
        fs::write(primary.path(format!("left/{token:02}")), "token").unwrap();
    }
    fs::write(primary.path("step/0"), "marker").unwrap();
}

fn while_not(stop: &AtomicBool, mut step: impl FnMut(u64)) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        step(number);
    }
}

fn move_all(primary: &Region, step: u64, moves: &AtomicU64) {
    let [source, target] = sides(step);
    for token in 0..TOKENS {
        let at = |side: &str| primary.path(format!("{side}/{token:02}"));
        fs::rename(at(source), at(target)).unwrap();
        moves.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    fs::rename(primary.path(format!("step/{step}")), primary.path(format!("step/{}", step + 1))).unwrap();
}

fn rename_within(primary: &Region, round: u64, moves: &AtomicU64) {
    for token in 0..TOKENS {
        let name = |round: u64| primary.path(format!("within/{token:02}.{}", round % 3));
        fs::rename(name(round), name(round + 1)).unwrap();
        moves.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

fn sides(step: u64) -> [&'static str; 2] {
    if step.is_multiple_of(2) { ["left", "right"] } else { ["right", "left"] }
}

fn read(mirror: &Region, wanted: u64, checks: &AtomicU64) {
    while checks.load(Ordering::Relaxed) < wanted {
        check_within(&mirror.path("within"));
        let held = check_sides(mirror.dir());
        checks.fetch_add(1 + held, Ordering::Relaxed);
    }
}

fn check_within(dir: &Path) {
    let names = list(dir);
    let tokens: Vec<u64> = names.iter().map(|name| number(name.split('.').next().unwrap_or(""))).collect();
    let distinct: BTreeSet<_> = tokens.iter().collect();
    assert!(distinct.len() == TOKENS as usize && tokens.len() == distinct.len(), "tokens in one listing: {names:?}");
}

/// Looks at both sides in both orders; tells how many checks counted.
fn check_sides(root: &Path) -> u64 {
    let step = marker(root);
    let [source, target] = sides(step).map(|side| root.join(side));
    let (source_first, target_second) = (tokens(&source), tokens(&target));
    let (target_first, source_second) = (tokens(&target), tokens(&source));
    if marker(root) != step {
        return 0;
    }
    let all: BTreeSet<u64> = (0..TOKENS).collect();
    let seen: BTreeSet<_> = source_first.union(&target_second).copied().collect();
    assert_eq!(seen, all, "step {step}: some token is on neither side");
    let both: Vec<_> = target_first.intersection(&source_second).collect();
    assert!(both.is_empty(), "step {step}: {both:?} are on both sides");
    for moved in [&target_second, &target_first] {
        let first: BTreeSet<u64> = (0..moved.len() as u64).collect();
        assert_eq!(moved, &first, "step {step}: tokens moved out of order");
    }
    2
}

fn marker(root: &Path) -> u64 {
    let names = list(&root.join("step"));
    assert_eq!(names.len(), 1, "a marker that is renamed has one name: {names:?}");
    number(&names[0])
}

fn tokens(dir: &Path) -> BTreeSet<u64> {
    list(dir).iter().map(|name| number(name)).collect()
}

fn number(name: &str) -> u64 {
    name.parse().unwrap_or_else(|_| panic!("{name:?} is no number"))
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
