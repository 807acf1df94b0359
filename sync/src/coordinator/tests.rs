//! The contract of journals over the wire, calls that come again, and who is refused.

use std::sync::OnceLock;

use async_trait::async_trait;
use farshore_meta::engine::{EmbeddedOptions, Engine, EngineUrl};
use farshore_proto::limits::SYNC_PROTOCOL;
use farshore_proto::wire;
use farshore_proto::wire::coordinator_client::CoordinatorClient;
use farshore_proto::wire::sync_work_reply::Outcome;
use farshore_proto::wire::sync_work_request::Act;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::allowance::Amounts;
use crate::counts::Counts;
use crate::journal::contract::{self, Maker, job, worker};
use crate::journal::{
    Claim, ClaimedPart, ClaimedRange, Deletion, EngineJournal, Failure, FinishedPart, JobIdentity, Journal,
    JournalOptions, Opened, PartClaim, Result as JournalResult, Settled, SharedUploads, Sharing, UploadRecord,
    WorkerId,
};
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::schedule::WeekMinute;
use crate::store::Upload;

/// Hears nothing.
#[derive(Debug, Default)]
struct Deaf;

impl Watcher for Deaf {
    fn told(&self, _: &Numbers, _: &[String]) {}
}

fn no_limits() -> Rates {
    Rates::new(Amounts::default(), Arc::new(|| WeekMinute::new(0, 0, 0).expect("there is a Monday")))
}

fn options() -> CoordinatorOptions {
    CoordinatorOptions { listen: "127.0.0.1:0".parse().unwrap(), tls: None, token: None, insecure: false }
}

fn link_options(coordinator: &Coordinator) -> LinkOptions {
    LinkOptions {
        address: coordinator.address().to_string(),
        tls: None,
        token: None,
        insecure: false,
        patience: Duration::from_secs(20),
        seed: rand::random(),
    }
}

/// A journal whose workers' side goes over the wire.
#[derive(Debug)]
struct Wired {
    journal: Arc<EngineJournal>,
    line: OnceLock<(Coordinator, RemoteJournal)>,
}

impl Wired {
    fn new(engine: Arc<dyn Engine>) -> Self {
        let journal = EngineJournal::new(engine, JournalOptions::new(Sharing::Alone));
        Self { journal: Arc::new(journal), line: OnceLock::new() }
    }

    fn remote(&self) -> &RemoteJournal {
        &self.line.get().expect("it was opened").1
    }

    async fn serve(&self, options: &CoordinatorOptions) -> Coordinator {
        let job = self.journal.name().unwrap();
        let description = Description { job, lease: Duration::from_secs(30), ..Description::default() };
        let journal = Arc::clone(&self.journal) as Arc<dyn WorkerJournal>;
        Coordinator::start(journal, description, no_limits(), options, Arc::new(Deaf)).await.unwrap()
    }
}

#[async_trait]
impl SharedUploads for Wired {
    async fn share(&self, sender: &WorkerId, upload: &Upload) -> JournalResult<()> {
        self.remote().share(sender, upload).await
    }

    async fn keep_shared(&self, sender: &WorkerId, upload: &Upload) -> JournalResult<()> {
        self.remote().keep_shared(sender, upload).await
    }

    async fn withdraw(&self, sender: &WorkerId, upload: &Upload) -> JournalResult<()> {
        self.remote().withdraw(sender, upload).await
    }

    async fn shared(&self, after: Option<&Key>, limit: usize) -> JournalResult<Vec<UploadRecord>> {
        self.remote().shared(after, limit).await
    }

    async fn claim_part(&self, sender: &WorkerId, upload: &Upload) -> JournalResult<PartClaim> {
        self.remote().claim_part(sender, upload).await
    }

    async fn renew_part(&self, claimed: &ClaimedPart) -> JournalResult<()> {
        self.remote().renew_part(claimed).await
    }

    async fn release_part(&self, claimed: &ClaimedPart) -> JournalResult<()> {
        self.remote().release_part(claimed).await
    }
}

#[async_trait]
impl WorkerJournal for Wired {
    fn lease(&self) -> Option<Duration> {
        self.remote().lease()
    }

    async fn claim(&self, worker: &WorkerId) -> JournalResult<Claim> {
        self.remote().claim(worker).await
    }

    async fn wants_ranges(&self) -> JournalResult<bool> {
        self.remote().wants_ranges().await
    }

    async fn split(&self, claimed: &ClaimedRange, at: &Bytes) -> JournalResult<ClaimedRange> {
        self.remote().split(claimed, at).await
    }

    async fn settle(&self, claimed: &ClaimedRange, settled: Settled) -> JournalResult<Option<ClaimedRange>> {
        self.remote().settle(claimed, settled).await
    }

    async fn renew(&self, claimed: &ClaimedRange) -> JournalResult<()> {
        self.remote().renew(claimed).await
    }

    async fn release(&self, claimed: &ClaimedRange) -> JournalResult<()> {
        self.remote().release(claimed).await
    }

    async fn upload_of(&self, key: &Key) -> JournalResult<Option<UploadRecord>> {
        self.remote().upload_of(key).await
    }

    async fn begin_upload(&self, record: &UploadRecord) -> JournalResult<()> {
        self.remote().begin_upload(record).await
    }

    async fn finish_part(&self, upload: &Upload, part: &FinishedPart) -> JournalResult<()> {
        self.remote().finish_part(upload, part).await
    }

    async fn end_upload(&self, upload: &Upload) -> JournalResult<()> {
        self.remote().end_upload(upload).await
    }
}

#[async_trait]
impl Journal for Wired {
    async fn open(&self, job: &JobIdentity) -> JournalResult<Opened> {
        let opened = self.journal.open(job).await?;
        if self.line.get().is_none() {
            let coordinator = self.serve(&options()).await;
            let link = Link::new(link_options(&coordinator)).unwrap();
            let description = link.describe().await.unwrap();
            assert!(self.line.set((coordinator, RemoteJournal::new(&link, &description))).is_ok());
        }
        Ok(opened)
    }

    async fn is_settled(&self) -> JournalResult<bool> {
        self.journal.is_settled().await
    }

    async fn counts(&self) -> JournalResult<Counts> {
        self.journal.counts().await
    }

    async fn failures(&self, skip: u64, limit: usize) -> JournalResult<Vec<Failure>> {
        self.journal.failures(skip, limit).await
    }

    async fn deletions(&self, before: Option<&Key>, limit: usize) -> JournalResult<Vec<Deletion>> {
        self.journal.deletions(before, limit).await
    }

    async fn recorded(&self, from: &Bytes) -> JournalResult<Vec<crate::manifest::Recorded>> {
        self.journal.recorded(from).await
    }

    async fn end_deletions(&self, from: &Key, counts: Counts) -> JournalResult<()> {
        self.journal.end_deletions(from, counts).await
    }

    async fn uploads(&self, after: Option<&Key>, limit: usize) -> JournalResult<Vec<UploadRecord>> {
        self.journal.uploads(after, limit).await
    }

    async fn finish(&self) -> JournalResult<()> {
        self.journal.finish().await
    }
}

/// Journals in embedded engines; the last one's engine outlives its coordinator.
struct OverTheWire {
    root: tempfile::TempDir,
    last: Mutex<Option<Arc<dyn Engine>>>,
}

impl OverTheWire {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), last: Mutex::default() }
    }

    async fn wired(&self) -> Wired {
        let place = self.root.path().join(format!("{:016x}", rand::random::<u64>()));
        let engine = EngineUrl::embedded(&place).create(&EmbeddedOptions::default()).await.unwrap();
        *self.last.lock() = Some(Arc::clone(&engine));
        Wired::new(engine)
    }

    /// A journal with a job that is begun, and its coordinator.
    async fn begun(&self, options: &CoordinatorOptions) -> (Wired, Coordinator) {
        let wired = self.wired().await;
        wired.journal.open(&job("a", KeyRange::all())).await.unwrap();
        let coordinator = wired.serve(options).await;
        (wired, coordinator)
    }
}

#[async_trait]
impl Maker for OverTheWire {
    async fn empty(&self) -> Arc<dyn Journal> {
        Arc::new(self.wired().await)
    }

    async fn after_death(&self, _: Arc<dyn Journal>) -> Arc<dyn Journal> {
        let engine = self.last.lock().clone().unwrap();
        Arc::new(Wired::new(engine))
    }
}

#[tokio::test]
async fn a_journal_over_the_wire_keeps_the_contract() {
    contract::run_all(&OverTheWire::new()).await;
}

#[tokio::test]
async fn a_call_that_comes_again_is_answered_as_it_was_and_done_once() {
    let place = OverTheWire::new();
    let (wired, coordinator) = place.begun(&options()).await;
    let mut client = CoordinatorClient::connect(format!("http://{}", coordinator.address())).await.unwrap();
    let request = |serial, act| wire::SyncWorkRequest {
        job: Bytes::copy_from_slice(&wired.journal.name().unwrap()),
        member: "one".into(),
        serial,
        act: Some(act),
    };
    let mut claimed = Vec::new();
    for _ in 0..3 {
        let answer = client.work(request(1, Act::Claim("one-0".into()))).await.unwrap().into_inner();
        claimed.push(answer.outcome.unwrap());
    }
    assert!(claimed.iter().all(|other| *other == claimed[0]), "{claimed:?}");
    let Outcome::Range(range) = claimed.remove(0) else { panic!("a range was free") };
    let counts = [("copied".to_owned(), 5)].into_iter().collect();
    let settle = wire::SyncSettle {
        range: Some(range),
        frontier: Some(Bytes::from_static(b"k")),
        counts,
        deletions: crate::journal::encode_deletions(&[]).into(),
        recorded: crate::journal::encode_recorded(&[]).into(),
        ..Default::default()
    };
    for _ in 0..3 {
        let answer = client.work(request(2, Act::Settle(settle.clone()))).await.unwrap().into_inner();
        assert!(matches!(answer.outcome, Some(Outcome::Range(_))), "{answer:?}");
    }
    assert_eq!(wired.counts().await.unwrap().copied, 5);
    let late = client.work(request(3, Act::Settle(settle))).await.unwrap().into_inner();
    let Some(Outcome::Refusal(refusal)) = late.outcome else { panic!("{late:?}") };
    assert_eq!(refusal.kind(), wire::sync_refusal::Kind::Lost);

    let mut other = request(4, Act::WantsRanges(wire::SyncNothing {}));
    other.job = Bytes::from_static(&[7; 16]);
    let status = client.work(other).await.unwrap_err();
    assert!(status.message().contains("no longer there"), "{status}");
}

#[tokio::test]
async fn a_worker_of_another_version_or_protocol_is_refused_and_told_both() {
    let place = OverTheWire::new();
    let (_wired, coordinator) = place.begun(&options()).await;
    let link = Link::new(link_options(&coordinator)).unwrap();
    for (protocol, version) in [(SYNC_PROTOCOL + 1, env!("CARGO_PKG_VERSION")), (SYNC_PROTOCOL, "0.0.9")] {
        let error = link.describe_as(protocol, version).await.unwrap_err();
        assert!(matches!(&error, CoordinatorError::Refused { reason, .. } if reason.contains(version)), "{error}");
        assert!(error.to_string().contains(env!("CARGO_PKG_VERSION")), "{error}");
    }
    link.describe().await.unwrap();
}

#[tokio::test]
async fn files_come_whole_whatever_their_size() {
    let place = OverTheWire::new();
    let wired = place.wired().await;
    wired.journal.open(&job("a", KeyRange::all())).await.unwrap();
    let large: Vec<u8> = (0..(3 << 20) + 17_u32).map(|number| (number % 251) as u8).collect();
    let files = vec![("files-from".to_owned(), large.into()), ("ignore-file".to_owned(), Bytes::new())];
    let job = wired.journal.name().unwrap();
    let limits = Limits { source_bytes: Some(7), ..Limits::default() };
    let args = vec![Bytes::from_static(b"sync"), Bytes::from_static(b"\xff")];
    let lease = Duration::from_secs(3);
    let told = Description { job, files, limits, args, lease, source: "/a".into(), ..Description::default() };
    let journal = Arc::clone(&wired.journal) as Arc<dyn WorkerJournal>;
    let coordinator = Coordinator::start(journal, told.clone(), no_limits(), &options(), Arc::new(Deaf)).await.unwrap();
    assert_eq!(Link::new(link_options(&coordinator)).unwrap().describe().await.unwrap(), told);
}

fn token(text: &str) -> Token {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Token::read(file.path()).unwrap()
}

#[tokio::test]
async fn only_who_shows_the_token_is_served() {
    let place = OverTheWire::new();
    let options = CoordinatorOptions { token: Some(token("0123456789abcdef")), ..options() };
    let (_wired, coordinator) = place.begun(&options).await;
    for (shown, served) in [(None, false), (Some("0123456789abcdee"), false), (Some("0123456789abcdef"), true)] {
        let options = LinkOptions { token: shown.map(token), ..link_options(&coordinator) };
        let told = Link::new(options).unwrap().describe().await;
        assert_eq!(told.is_ok(), served, "{told:?}");
        if let Err(error) = told {
            assert!(matches!(&error, CoordinatorError::Refused { reason, .. } if reason.contains("token")), "{error}");
        }
    }
}

/// An authority, and one certificate of it for both sides.
fn certificates() -> TlsOptions {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    TlsOptions {
        cert: cert.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        peer_ca: authority.pem().into_bytes(),
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_at_once() {
    let (right, wrong) = (certificates(), certificates());
    let place = OverTheWire::new();
    let options = CoordinatorOptions { tls: Some(right.clone()), ..options() };
    let (wired, coordinator) = place.begun(&options).await;
    let link = |tls| Link::new(LinkOptions { tls, ..link_options(&coordinator) }).unwrap();
    let served = link(Some(right.clone()));
    let description = served.describe().await.unwrap();
    let remote = RemoteJournal::new(&served, &description);
    assert!(matches!(remote.claim(&worker("one")).await.unwrap(), Claim::Range(_)));

    let stranger = TlsOptions { peer_ca: right.peer_ca.clone(), ..wrong.clone() };
    let deceived = TlsOptions { peer_ca: wrong.peer_ca, ..right };
    for tls in [stranger, deceived] {
        let error = tokio::time::timeout(Duration::from_secs(10), link(Some(tls)).describe()).await.unwrap();
        assert!(matches!(&error, Err(CoordinatorError::Tls { .. })), "{error:?}");
    }
    drop(wired);
}

#[tokio::test]
async fn a_worker_waits_for_a_coordinator_that_is_started_again() {
    let place = OverTheWire::new();
    let (wired, coordinator) = place.begun(&options()).await;
    let address = coordinator.address();
    let link = Link::new(link_options(&coordinator)).unwrap();
    let remote = RemoteJournal::new(&link, &link.describe().await.unwrap());
    let Claim::Range(claimed) = remote.claim(&worker("one")).await.unwrap() else { panic!("a range was free") };
    coordinator.stop(None).await;
    let settling = tokio::spawn(async move { remote.settle(&claimed, Settled::default()).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!settling.is_finished());
    let coordinator = wired.serve(&CoordinatorOptions { listen: address, ..options() }).await;
    assert_eq!(settling.await.unwrap().unwrap(), None);
    assert!(wired.is_settled().await.unwrap());

    drop(coordinator);
    let patience = Duration::from_millis(300);
    let hasty = LinkOptions { address: address.to_string(), patience, seed: 1, ..link_options_of(address) };
    let error = Link::new(hasty).unwrap().describe().await.unwrap_err();
    assert!(matches!(error, CoordinatorError::Unreachable { .. }), "{error}");
}

fn link_options_of(address: SocketAddr) -> LinkOptions {
    LinkOptions {
        address: address.to_string(),
        tls: None,
        token: None,
        insecure: false,
        patience: Duration::ZERO,
        seed: 0,
    }
}
