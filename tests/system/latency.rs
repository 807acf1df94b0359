//! How long a change takes to be visible on the mirror's mount, under a load of changes.
//! Printed and not judged: a busy machine is no measure.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::region::{Region, assert_equal};
use crate::scale;
use crate::shore::Shore;

/// Changes a second that go on meanwhile.
const RATE: f64 = 1_000.0;
/// How often the mirror is looked at.
const LOOK: Duration = Duration::from_micros(300);
/// How often a change is timed.
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn changes_become_visible_and_their_latency_is_told() {
    let probes = scale::pick(150, 2_000);
    let shore = Shore::new("latency", Duration::from_secs(scale::pick(120, 600)));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    let (mut seen, mut waited) = std::thread::scope(|scope| {
        scope.spawn(|| change(&primary, &stop, &count));
        let times = measure(&primary, &mirror, probes);
        stop.store(true, Ordering::Relaxed);
        times
    });
    let rate = count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("latency: {rate:.0} changes/s meanwhile, {probes} changes timed each way");
    report("seen by stat", &mut seen);
    report("told by wait", &mut waited);
    assert_equal(&primary, &mirror);
}

/// Makes changes at an even rate: files made, written, renamed and removed in turn.
fn change(primary: &Region, stop: &AtomicBool, count: &AtomicU64) {
    let dir = primary.path("load");
    fs::create_dir(&dir).unwrap();
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let (made, moved) = (dir.join(format!("made-{}", number / 4)), dir.join(format!("moved-{}", number / 4)));
        match number % 4 {
            0 => drop(fs::File::create_new(&made).unwrap()),
            1 => fs::write(&made, number.to_string()).unwrap(),
            2 => fs::rename(&made, &moved).unwrap(),
            _ => fs::remove_file(&moved).unwrap(),
        }
        let due = Duration::from_secs_f64(number as f64 / RATE);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}

fn measure(primary: &Region, mirror: &Region, probes: usize) -> (Vec<Duration>, Vec<Duration>) {
    let (mut seen, mut waited) = (Vec::new(), Vec::new());
    for probe in 0..probes {
        let name = format!("seen-{probe}");
        assert!(!mirror.path(&name).exists());
        fs::write(primary.path(&name), "x").unwrap();
        let begun = Instant::now();
        while !mirror.path(&name).exists() {
            std::thread::sleep(LOOK);
        }
        seen.push(begun.elapsed());

        let name = format!("waited-{probe}");
        fs::write(primary.path(&name), "x").unwrap();
        let begun = Instant::now();
        mirror.wait(&primary.token());
        waited.push(begun.elapsed());
        assert!(mirror.path(&name).exists(), "a wait returned too early");
        std::thread::sleep(PAUSE);
    }
    (seen, waited)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    eprintln!("latency: {what}: p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(50), at(99), at(100));
}
