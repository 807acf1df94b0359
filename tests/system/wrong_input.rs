//! Wrong input: one line that names the thing and a way out, an exit code of its own, nothing lost.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::command::Said;
use crate::region::{Region, assert_equal};
use crate::shore::Shore;

/// Exit codes that scripts rely on; `src/exit.rs` names them.
const USAGE: i32 = 2;
const NO_VOLUME: i32 = 3;
const ALREADY_THERE: i32 = 4;
const ENGINE_IN_USE: i32 = 5;
const STORE: i32 = 6;
const MOUNT_POINT: i32 = 7;
const ADDRESS: i32 = 8;
const WRONG_UPSTREAM: i32 = 9;
const UPSTREAM: i32 = 10;
const TIMED_OUT: i32 = 11;

/// Longest that a refusal may take.
const BOUND: Duration = Duration::from_mins(1);

/// A place with a volume that holds a file.
fn shore_with_volume(test: &str) -> Shore {
    let shore = Shore::new(test, Duration::from_mins(4));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    fs::write(primary.path("kept"), vec![7; 100_000]).unwrap();
    assert!(primary.terminate().success());
    shore
}

fn assert_nothing_lost(primary: &Region) {
    assert!(fs::read(primary.path("kept")).unwrap() == vec![7; 100_000], "the volume lost its file");
}

fn assert_mounts_fine(shore: &Shore) {
    let primary = shore.primary("volume", &[]);
    assert_nothing_lost(&primary);
    assert!(primary.terminate().success());
}

/// Runs a command that would go to the background, with its log in the test's place.
fn run(shore: &Shore, args: &[&str]) -> Said {
    let log = shore.arg("refused.log");
    let begun = Instant::now();
    let said = match args[0] {
        "mount" | "mirror" => shore.farshore(args.iter().copied().chain(["--log", &log])),
        _ => shore.farshore(args),
    };
    assert!(begun.elapsed() < BOUND, "{args:?} took {:?}", begun.elapsed());
    eprintln!("wrong input: {} says: {}", args[0], said.stderr.trim_end());
    said
}

#[test]
fn a_volume_that_is_not_there_or_already_there() {
    let shore = shore_with_volume("wrong-volume");
    let (missing, mount, volume) = (shore.arg("missing"), shore.mkdir("mount"), shore.arg("volume"));
    let mount = mount.to_str().unwrap();
    run(&shore, &["mount", &missing, mount]).refused(NO_VOLUME, &missing);
    run(&shore, &["status", &missing]).refused(NO_VOLUME, &missing);
    run(&shore, &["serve", &missing, "--listen", "127.0.0.1:0"]).refused(NO_VOLUME, &missing);
    assert!(!shore.path("missing").exists(), "looking for a volume makes none");
    shore.mkdir("empty");
    run(&shore, &["mount", &shore.arg("empty"), mount]).refused(NO_VOLUME, &shore.arg("empty"));

    let store = format!("file://{}", shore.arg("other-store"));
    run(&shore, &["format", &volume, "--store", &store]).refused(ALREADY_THERE, &volume);
    let file = shore.path("a-file");
    fs::write(&file, "not a volume").unwrap();
    let said = run(&shore, &["format", file.to_str().unwrap(), "--store", &store]);
    said.refused(ALREADY_THERE, file.to_str().unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"not a volume");
    assert_mounts_fine(&shore);
}

#[test]
fn a_store_that_refuses_or_is_gone() {
    let shore = shore_with_volume("wrong-store");
    let (new, volume, mount) = (shore.arg("new"), shore.arg("volume"), shore.mkdir("mount"));
    fs::write(shore.path("a-file"), "").unwrap();
    let under_file = format!("file://{}/store", shore.arg("a-file"));
    run(&shore, &["format", &new, "--store", &under_file]).refused(STORE, "a-file");
    let nobody =
        format!("s3://bucket/x?endpoint=http://127.0.0.1:{}&region=r&skip_signature=true", farshore_ports::free());
    run(&shore, &["format", &new, "--store", &nobody]).refused(STORE, "bucket");
    assert!(!shore.path("new").exists(), "a refused format leaves nothing");

    fs::rename(shore.path("volume-store"), shore.path("elsewhere")).unwrap();
    run(&shore, &["mount", &volume, mount.to_str().unwrap()]).refused(STORE, "volume-store");
    assert!(!shore.path("volume-store").exists(), "a lost store is not made anew");
    fs::rename(shore.path("elsewhere"), shore.path("volume-store")).unwrap();
    assert_mounts_fine(&shore);
}

#[test]
fn a_mount_point_that_is_in_use_or_is_none() {
    let shore = shore_with_volume("wrong-mount");
    shore.format("other");
    let (volume, other) = (shore.arg("volume"), shore.arg("other"));
    let primary = shore.primary("volume", &[]);
    let in_use = primary.dir().to_str().unwrap();
    run(&shore, &["mount", &other, in_use]).refused(MOUNT_POINT, in_use);
    assert_nothing_lost(&primary);
    assert!(primary.terminate().success());

    let missing = shore.arg("missing");
    run(&shore, &["mount", &volume, &missing]).refused(MOUNT_POINT, &missing);
    let file = shore.path("a-file");
    fs::write(&file, "kept").unwrap();
    run(&shore, &["mount", &volume, file.to_str().unwrap()]).refused(MOUNT_POINT, "a-file");
    let full = shore.mkdir("full");
    fs::write(full.join("kept"), "kept").unwrap();
    run(&shore, &["mount", &volume, full.to_str().unwrap()]).refused(MOUNT_POINT, "full");
    let empty = shore.arg("volume-mount");
    for verb in ["unmount", "token"] {
        run(&shore, &[verb, &empty]).refused(MOUNT_POINT, &empty);
        run(&shore, &[verb, &missing]).refused(MOUNT_POINT, &missing);
    }
    assert_mounts_fine(&shore);
}

#[test]
fn an_engine_directory_of_a_running_process() {
    let shore = shore_with_volume("wrong-owner");
    let (volume, mount) = (shore.arg("volume"), shore.mkdir("mount"));
    let primary = shore.primary("volume", &[]);
    let pid = primary.process().pid().to_string();
    run(&shore, &["mount", &volume, mount.to_str().unwrap()]).refused(ENGINE_IN_USE, &pid);
    run(&shore, &["serve", &volume, "--listen", "127.0.0.1:0"]).refused(ENGINE_IN_USE, &volume);
    run(&shore, &["status", &volume]).refused(ENGINE_IN_USE, &pid);
    let store = format!("file://{}", shore.arg("other-store"));
    let said = run(&shore, &["format", &volume, "--store", &store]);
    assert!([Some(ENGINE_IN_USE), Some(ALREADY_THERE)].contains(&said.code), "{said:?}");
    fs::write(primary.path("more"), "still writable").unwrap();
    assert_nothing_lost(&primary);
    assert!(primary.terminate().success());
    assert_mounts_fine(&shore);
}

#[test]
fn a_port_that_is_taken_and_addresses_that_are_none() {
    let shore = shore_with_volume("wrong-port");
    let (volume, mount) = (shore.arg("volume"), shore.mkdir("mount"));
    let mount = mount.to_str().unwrap();
    let holder = TcpListener::bind(("127.0.0.1", farshore_ports::free())).unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    run(&shore, &["mount", &volume, mount, "--listen", &taken]).refused(ADDRESS, &taken);
    run(&shore, &["serve", &volume, "--listen", &taken]).refused(ADDRESS, &taken);
    run(&shore, &["mount", &volume, mount, "--listen", "nonsense"]).refused(USAGE, "nonsense");
    // Beyond loopback a publisher wants TLS.
    let said = run(&shore, &["serve", &volume, "--listen", "0.0.0.0:0"]);
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("--insecure"), "{}", said.stderr);
    assert_mounts_fine(&shore);
}

#[test]
fn a_mirror_of_another_volume_or_of_itself_or_of_nobody() {
    let shore = shore_with_volume("wrong-upstream");
    shore.format("other");
    let primary = shore.primary("volume", &[]);
    let other = shore.primary("other", &[]);
    let listen = format!("127.0.0.1:{}", farshore_ports::free());
    let mirror = shore.mirror("mirror", &primary.address(), &["--listen", &listen]);
    mirror.catch_up(&primary);
    assert!(mirror.terminate().success());

    let (meta, mount) = (shore.arg("mirror"), shore.arg("mirror-mount"));
    let follow = |upstream: &str, more: &[&str]| {
        let url = format!("http://{upstream}");
        let args = ["mirror", &url, "--meta", &meta, "--mount", &mount];
        run(&shore, &[args.as_slice(), more].concat())
    };
    follow(&other.address(), &[]).refused(WRONG_UPSTREAM, &other.address());
    follow(&listen, &["--listen", &listen]).refused(WRONG_UPSTREAM, &listen);
    let nobody = format!("127.0.0.1:{}", farshore_ports::free());
    let (url, new) = (format!("http://{nobody}"), shore.arg("new"));
    run(&shore, &["mirror", &url, "--meta", &new, "--mount", &mount]).refused(UPSTREAM, &nobody);

    // A primary's rows are no mirror's, and a mirror's no primary's.
    run(&shore, &["mount", &meta, &mount]).refused(USAGE, &meta);
    let url = format!("http://{}", primary.address());
    shore.format("third");
    let said = run(&shore, &["mirror", &url, "--meta", &shore.arg("third"), "--mount", &mount]);
    said.refused(ALREADY_THERE, &shore.arg("third"));

    let mirror = shore.mirror("mirror", &primary.address(), &["--listen", &listen]);
    assert_nothing_lost(&mirror);
    assert_equal(&primary, &mirror);
}

#[test]
fn command_lines_that_make_no_sense() {
    let shore = shore_with_volume("wrong-usage");
    let (new, volume) = (shore.arg("new"), shore.arg("volume"));
    let store = format!("file://{}", shore.arg("store"));
    run(&shore, &["format", &new, "--store", "gopher://x/y"]).refused(USAGE, "gopher");
    run(&shore, &["format", &new, "--store", &store, "--block-size", "1000"]).refused(USAGE, "1000");
    run(&shore, &["format", &new, "--store", &store, "--inline-limit", "1MiB"]).refused(USAGE, "inline");
    run(&shore, &["format", &new, "--store", &store, "--name", "a/b"]).refused(USAGE, "a/b");
    run(&shore, &["mount", "gopher://x", &shore.arg("m")]).refused(USAGE, "gopher");
    run(&shore, &["wait", &shore.arg("m"), "no-token"]).refused(USAGE, "no-token");
    run(&shore, &["status", "fdb:///etc/none?nonsense=1"]).refused(USAGE, "fdb");
    assert!(!shore.path("new").exists(), "a refused format leaves nothing");

    let primary = shore.primary("volume", &[]);
    let mount = primary.dir().to_str().unwrap().to_owned();
    let token = shore.farshore(["token", &mount]).ok();
    shore.farshore(["wait", &mount, token.trim()]).ok();
    let future = future_of(token.trim());
    run(&shore, &["wait", &mount, &future, "--timeout", "300ms"]).refused(TIMED_OUT, &mount);
    assert!(shore.farshore(["status", &mount]).ok().contains("primary"));
    assert!(primary.terminate().success());
    let status: serde_json::Value = serde_json::from_str(&shore.farshore(["status", &volume, "--json"]).ok()).unwrap();
    assert_eq!(status["role"], "primary");
}

/// A token of a position that the volume has not reached: its version is the last 10 bytes.
fn future_of(token: &str) -> String {
    let (head, version) = token.split_at(token.len() - 20);
    let later = u128::from_str_radix(version, 16).unwrap() + (1 << 40);
    format!("{head}{later:020x}")
}
