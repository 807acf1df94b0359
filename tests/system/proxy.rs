//! A TCP proxy between a mirror and its upstream that delays, holds, cuts and damages.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Chunks on their way while they are delayed.
const CHUNKS: usize = 512;
/// How often a held connection looks whether it may go on.
const POLL: Duration = Duration::from_millis(5);

/// What the proxy does to what passes; switched while it runs.
#[derive(Default)]
struct Weather {
    delay_us: AtomicU64,
    held: AtomicBool,
    cut: AtomicBool,
    /// One byte in about this many is flipped on its way to the mirror; none at 0.
    flip_every: AtomicU64,
    flipped: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy that listens until dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<Weather>,
}

struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
}

impl Proxy {
    /// Listens at a port of its own and passes everything on to `upstream`.
    pub(crate) fn start(upstream: &str, seed: u64) -> Self {
        let upstream: SocketAddr = upstream.parse().expect("an address");
        let port = farshore_ports::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let weather = Arc::new(Weather::default());
        let shared = Arc::clone(&weather);
        std::thread::spawn(move || listen(&listener, upstream, seed, &shared));
        Self { address, weather }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Everything takes this long from now on, in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Nothing passes, and nobody is told, while held.
    pub(crate) fn hold(&self, held: bool) {
        self.weather.held.store(held, Ordering::Relaxed);
    }

    /// Every connection is cut, and none is taken, while cut.
    pub(crate) fn cut(&self, cut: bool) {
        self.weather.cut.store(cut, Ordering::Relaxed);
        if cut {
            self.cut_once();
        }
    }

    /// Every connection is cut now; new ones are taken.
    pub(crate) fn cut_once(&self) {
        for stream in self.weather.open.lock().unwrap().drain(..) {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    /// Flips one byte in about `every` on its way to the mirror; none at 0.
    pub(crate) fn flip(&self, every: u64) {
        self.weather.flip_every.store(every, Ordering::Relaxed);
    }

    /// Bytes flipped so far.
    pub(crate) fn flipped(&self) -> u64 {
        self.weather.flipped.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut(true);
    }
}

fn listen(listener: &TcpListener, upstream: SocketAddr, seed: u64, weather: &Arc<Weather>) {
    for (number, downstream) in listener.incoming().flatten().enumerate() {
        if weather.cut.load(Ordering::Relaxed) {
            continue;
        }
        if let Ok(upstream) = TcpStream::connect(upstream) {
            join(downstream, upstream, seed.wrapping_add(number as u64), weather);
        }
    }
}

fn join(downstream: TcpStream, upstream: TcpStream, seed: u64, weather: &Arc<Weather>) {
    for stream in [&downstream, &upstream] {
        stream.set_nodelay(true).unwrap_or_default();
        let copy = stream.try_clone().expect("a socket can be cloned");
        weather.open.lock().unwrap().push(copy);
    }
    let copies = (downstream.try_clone(), upstream.try_clone());
    let (Ok(downstream_copy), Ok(upstream_copy)) = copies else { return };
    pump(downstream, upstream_copy, None, weather);
    pump(upstream, downstream_copy, Some(StdRng::seed_from_u64(seed)), weather);
}

/// Moves bytes one way on two threads; with `rng`, damages them when that is asked for.
fn pump(from: TcpStream, to: TcpStream, rng: Option<StdRng>, weather: &Arc<Weather>) {
    let (sender, receiver) = mpsc::sync_channel(CHUNKS);
    let reading = Arc::clone(weather);
    std::thread::spawn(move || take(from, &sender, rng, &reading));
    let writing = Arc::clone(weather);
    std::thread::spawn(move || give(to, &receiver, &writing));
}

fn take(mut from: TcpStream, sender: &SyncSender<Chunk>, mut rng: Option<StdRng>, weather: &Weather) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if let Some(rng) = &mut rng {
            damage(&mut buffer[..len], rng, weather);
        }
        let delay = Duration::from_micros(weather.delay_us.load(Ordering::Relaxed));
        let chunk = Chunk { bytes: buffer[..len].to_vec(), due: Instant::now() + delay };
        if sender.send(chunk).is_err() {
            break;
        }
    }
}

fn damage(bytes: &mut [u8], rng: &mut StdRng, weather: &Weather) {
    let every = weather.flip_every.load(Ordering::Relaxed);
    for byte in bytes.iter_mut().filter(|_| every > 0) {
        if rng.random_range(0..every) == 0 {
            *byte ^= 1 << rng.random_range(0..8);
            weather.flipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn give(mut to: TcpStream, receiver: &Receiver<Chunk>, weather: &Weather) {
    for chunk in receiver {
        std::thread::sleep(chunk.due.saturating_duration_since(Instant::now()));
        while weather.held.load(Ordering::Relaxed) && !weather.cut.load(Ordering::Relaxed) {
            std::thread::sleep(POLL);
        }
        if to.write_all(&chunk.bytes).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).unwrap_or_default();
}
