//! What others test filesystems with, where it is installed: pjdfstest and fsx.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::{Said, find, not_run};
use crate::region::assert_equal;
use crate::scale;
use crate::shore::Shore;

#[test]
fn pjdfstest_passes() {
    let Some(program) = find("pjdfstest") else {
        not_run("pjdfstest", "it is not installed (cargo install pjdfstest)");
        return;
    };
    let shore = Shore::new("pjdfstest", Duration::from_mins(10));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    let config = shore.path("pjdfstest.toml");
    fs::write(&config, PJDFSTEST).unwrap();
    let mut command = Command::new(program);
    let said = Said::of(command.arg("-c").arg(&config).arg("-p").arg(primary.dir()));
    let failed: Vec<_> = said.stdout.lines().filter(|line| line.contains("FAILED")).collect();
    let summary: Vec<_> = said.stdout.lines().rev().take(4).collect();
    eprintln!("pjdfstest: {summary:?}");
    assert!(failed.is_empty() && said.code == Some(0), "{failed:#?}\n{}\n{}", said.stdout, said.stderr);
    assert_equal(&primary, &mirror);
}

/// What the mount claims to have.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"], ["games", "games"]]
"#;

#[test]
fn fsx_finds_nothing() {
    let Some(program) = find("fsx") else {
        not_run("fsx", "it is not installed (cargo install fsx)");
        return;
    };
    let operations = scale::pick(3_000, 100_000);
    let shore = Shore::new("fsx", Duration::from_secs(scale::pick(180, 3_000)));
    shore.format("volume");
    let primary = shore.primary("volume", &[]);
    let mirror = shore.mirror("mirror", &primary.address(), &[]);
    for (name, more) in [("small", ""), ("large", LARGE)] {
        let config = shore.path(&format!("fsx-{name}.toml"));
        fs::write(&config, format!("{more}{FSX}")).unwrap();
        run_fsx(&program, &config, operations, &primary.path(name));
    }
    assert_equal(&primary, &mirror);
}

fn run_fsx(program: &Path, config: &Path, operations: u64, file: &Path) {
    let mut command = Command::new(program);
    command.args(["-N", &operations.to_string(), "-S", &scale::seed("fsx").to_string()]);
    Said::of(command.arg("-f").arg(config).arg(file)).ok();
}

const LARGE: &str = "flen = 9000000\n[opsize]\nmax = 600000\n";
const FSX: &str = "\n[weights]\nfsync = 1\nfdatasync = 1\npunch_hole = 1\nposix_fallocate = 1\ninvalidate = 0\n";
