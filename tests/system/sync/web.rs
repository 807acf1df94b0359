//! From a web server: its directories by their indexes, and a single file.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::compare::assert_same_contents_for_rsync;
use super::{Counts, PARTIAL, USAGE, assert_nothing_is_left_to_do, hostile, sync, sync_fails};
use crate::command::not_run;
use crate::process::Process;
use crate::shore::Shore;

const LIMIT: Duration = Duration::from_mins(4);

/// Python's server, but that it lets more than five connections wait: it makes each further one wait a second or more.
const PROGRAM: &str = "
import functools, http.server, sys
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
Server(('127.0.0.1', int(sys.argv[1])), handler).serve_forever()
";

/// A server of a test's own.
struct Server {
    port: u16,
    _process: Process,
}

impl Server {
    fn start(directory: &Path) -> Option<Self> {
        if Command::new("python3").arg("--version").output().is_err() {
            not_run("sync from a web server", "no `python3` on PATH");
            return None;
        }
        let port = farshore_ports::free();
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM, &port.to_string()]).arg(directory);
        let process = Process::spawn_quiet(&mut command);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < LIMIT, "python does not answer at {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { port, _process: process })
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

#[test]
fn a_tree_on_a_web_server_is_mirrored_and_kept_up() {
    let shore = Shore::new("sync-web", LIMIT);
    let source = shore.mkdir("source");
    hostile::plant_many(&source, 80);
    for name in ["with space", "per%cent", "plus+and&", "\u{e9}", "#1", "q?x", "back\\slash", "new\nline"] {
        fs::write(source.join(name), name).unwrap();
    }
    fs::write(source.join("large"), hostile::bytes(20 << 20, 1)).unwrap();
    let Some(server) = Server::start(&source) else { return };
    let (from, to) = (server.at(""), shore.arg("target"));
    let counts = sync(&shore, &from, &to, &[]);
    assert_eq!((counts.get("copied"), counts.get("failed")), (counts.get("source_entries"), 0));
    assert_same_contents_for_rsync(&source, &shore.path("target"));
    assert_nothing_is_left_to_do(&shore, &from, &to);

    fs::write(source.join("with space"), "another size").unwrap();
    fs::remove_file(source.join("#1")).unwrap();
    let counts = sync(&shore, &from, &to, &["--delete"]);
    assert_eq!((counts.get("copied"), counts.get("deleted")), (1, 1));
    assert_same_contents_for_rsync(&source, &shore.path("target"));
    sync(&shore, &server.at("large"), &shore.arg("one"), &[]);
    assert_eq!(fs::read(shore.path("one/large")).unwrap(), fs::read(source.join("large")).unwrap());
    sync_fails(&shore, &to, &from, &[]).refused(USAGE, "can only be read");
}

#[test]
fn a_page_that_hides_keys_deletes_nothing() {
    let shore = Shore::new("sync-web-hidden", LIMIT);
    let source = shore.mkdir("source");
    fs::create_dir_all(source.join("app")).unwrap();
    fs::write(source.join("app/index.html"), "<html><title>Welcome</title></html>").unwrap();
    fs::write(source.join("fine"), "fine").unwrap();
    let Some(server) = Server::start(&source) else { return };
    let target = shore.mkdir("target");
    fs::write(target.join("extra"), "extra").unwrap();
    let said = sync_fails(&shore, &server.at(""), &shore.arg("target"), &["--delete", "--json"]);
    let counts = Counts::of(&said.stdout);
    assert_eq!((counts.get("copied"), counts.get("unlisted"), counts.get("deleted")), (1, 1, 0), "{said:?}");
    assert!(said.code.is_some_and(|code| code >= PARTIAL), "{said:?}");
    assert!(target.join("extra").exists());
}
