//! Copying single objects: whole or in parts, through here or server-side, each byte checksummed on its way and
//! against what both stores say. An object is called copied only after that.

mod backup;
mod buffers;
mod checked;
mod links;
mod look;
mod parts;
mod records;
mod senders;
mod shared_parts;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::backup::Backup;
pub(crate) use self::backup::Backups;
use self::buffers::Buffers;
use self::checked::Checked;
use self::links::Links;
pub(crate) use self::look::Looked;
use self::senders::Senders;
pub(crate) use self::shared_parts::Wanted;
use crate::attributes::{AttributeKind, AttributeSet, Grant, Grantee};
use crate::checksum::{Agreement, Algorithm, Checksums};
use crate::counts::Counts;
use crate::digest::Extra;
use crate::entry::{Entry, Kind, Object};
use crate::error::{Remedy, Result, StoreError};
use crate::journal::WorkerJournal;
use crate::key::Key;
use crate::limits::{
    CHUNK_BYTES, COPY_MEMORY_BYTES, LOOKS_AGAIN, READ_HERE_BYTES, SMALL_DISK_PUT_BYTES, STREAM_MEMORY_BYTES,
    WHOLE_PUT_BYTES,
};
use crate::manifest::Recorded;
use crate::origin::Origin;
use crate::outcome::{Observer, Outcome, What};
use crate::pace::Pace;
use crate::parts::Cut;
use crate::retry::{Dice, RetryPolicy, retry};
use crate::storage_class::{Provider, translated};
use crate::store::{Body, CopyRequest, PutRequest, ReadRequest, Store, Stored};
use crate::waiting::WaitingThreads;

/// How copies are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// How a copy is proven.
    pub verify: Verify,
    /// Whether stores may copy by themselves.
    pub server_side: bool,
    /// What is kept beside bytes, where the target holds it.
    pub keep: AttributeSet,
    /// The storage class of what is written, in the target's words; without it the source's, in the target's words.
    pub storage_class: Option<String>,
    /// Whether BLAKE3 is computed too, for a manifest.
    pub blake3: bool,
    /// When failed requests are sent again.
    pub retry: RetryPolicy,
}

/// How a copy is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// What was read is compared with what both stores report, as far as they do.
    Reported,
    /// And the copy is read again.
    ReadBack,
}

/// What a copy needs. One for a whole job.
#[derive(Debug)]
pub(crate) struct Copier {
    pub(crate) source: Arc<dyn Store>,
    pub(crate) target: Arc<dyn Store>,
    pub(crate) journal: Arc<dyn WorkerJournal>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) source_pace: Arc<Pace>,
    pub(crate) target_pace: Arc<Pace>,
    pub(crate) options: CopyOptions,
    pub(crate) dice: Dice,
    /// Where what is overwritten goes first.
    pub(crate) backups: Option<Box<Backups>>,
    /// What is added to each key at the target.
    suffix: Vec<u8>,
    /// Where what waits for disks runs, where copies go from one disk to another.
    waiting: Option<WaitingThreads>,
    memory: Arc<Semaphore>,
    buffers: Buffers,
    links: Links,
    senders: Senders,
}

/// What came of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    /// It is there and right.
    Done {
        /// What to count.
        counts: Counts,
        /// Whether the store copied it by itself.
        server_side: bool,
        /// What the manifest says of it, if there is one and the object was written.
        recorded: Option<Box<Recorded>>,
    },
    /// The source is gone.
    Vanished,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            verify: Verify::Reported,
            server_side: true,
            keep: AttributeSet::all().without(AttributeSet::of(&[AttributeKind::Grants])),
            storage_class: None,
            blake3: false,
            retry: RetryPolicy::default(),
        }
    }
}

/// Both ends and what is between them, to make a copier of.
pub(crate) struct Ends {
    pub(crate) source: Arc<dyn Store>,
    pub(crate) target: Arc<dyn Store>,
    pub(crate) journal: Arc<dyn WorkerJournal>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) source_pace: Arc<Pace>,
    pub(crate) target_pace: Arc<Pace>,
}

impl Copier {
    pub(crate) fn new(ends: Ends, options: CopyOptions, seed: u64, backup: Option<&Backup>) -> Self {
        let memory = Arc::new(Semaphore::new(COPY_MEMORY_BYTES));
        let backups = backup.map(|backup| Box::new(Backups::new(backup, &ends, &options, seed, &memory)));
        let copier = Self::named(ends, options, seed, b"");
        let waiting = copier.disk_calls().map(WaitingThreads::start);
        Self { backups, waiting, memory, ..copier }
    }

    /// One whose copies have more at the end of their keys.
    fn named(ends: Ends, options: CopyOptions, seed: u64, suffix: &[u8]) -> Self {
        let Ends { source, target, journal, observer, source_pace, target_pace } = ends;
        Self {
            source,
            target,
            journal,
            observer,
            source_pace,
            target_pace,
            options,
            dice: Dice::new(seed),
            backups: None,
            suffix: suffix.to_vec(),
            waiting: None,
            memory: Arc::new(Semaphore::new(COPY_MEMORY_BYTES)),
            buffers: Buffers::default(),
            links: Links::default(),
            senders: Senders::new(seed),
        }
    }

    /// Copies an object, again if it changes meanwhile. What it replaces is brought to safety first.
    pub(crate) async fn copy(self: &Arc<Self>, entry: &Entry, replaces: bool) -> Result<Copied> {
        let kept = match self.backups.as_ref().filter(|_| replaces) {
            Some(backups) => backups.keep(&entry.key).await?,
            None => None,
        };
        if let Some(size) = kept {
            self.observer.outcome(&Outcome { key: entry.key.clone(), size, what: What::BackedUp });
        }
        let mut copied = self.copy_anew(entry).await?;
        if let Copied::Done { counts, .. } = &mut copied {
            counts.backed_up += u64::from(kept.is_some());
        }
        Ok(copied)
    }

    async fn copy_anew(self: &Arc<Self>, entry: &Entry) -> Result<Copied> {
        let mut entry = entry.clone();
        for _ in 0..LOOKS_AGAIN {
            let attempt = || async {
                if self.keeps_link(&entry) { self.copy_linked(&entry).await } else { self.attempt(&entry).await }
            };
            let error = match self.retry(attempt).await {
                Err(error) => error,
                done => return done,
            };
            if !matches!(error.remedy(), Remedy::LookAgain | Remedy::Gone) {
                return Err(error);
            }
            let object = self.retry(|| async { self.source.head(&entry.key, AttributeSet::NONE).await }).await;
            match object {
                Err(StoreError::Missing { .. }) => return Ok(Copied::Vanished),
                Ok(_) if error.remedy() == Remedy::Gone => return Err(error),
                object => entry = object?.entry,
            }
        }
        Err(StoreError::changed(&entry.key, "it keeps changing while it is copied"))
    }

    /// Does something until it succeeds or cannot; both paces hear of it.
    pub(crate) async fn retry<T, F: Future<Output = Result<T>> + Send>(
        &self,
        act: impl FnMut() -> F + Send,
    ) -> Result<T> {
        let failed = |remedy| {
            self.source_pace.failed(remedy);
            self.target_pace.failed(remedy);
        };
        let done = retry(&self.options.retry, &self.dice, failed, act).await;
        if done.is_ok() {
            self.target_pace.succeeded();
            self.source_pace.succeeded();
        }
        done
    }

    /// The threads for copies of this size, where one is best read and written by turns by a thread that may wait. The
    /// parts of a larger one go side by side, each on such a thread.
    pub(crate) fn threads_for(&self, size: u64) -> Option<&WaitingThreads> {
        self.waiting.as_ref().filter(|_| size <= READ_HERE_BYTES)
    }

    /// How many copies are best made at once by threads that wait, where they go from disk to disk.
    fn disk_calls(&self) -> Option<usize> {
        let calls = self.source.capabilities().disk_calls.and(self.target.capabilities().disk_calls);
        calls.map(|calls| calls.min(self.target_pace.most_at_once()))
    }

    /// How many copies can run at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.disk_calls().unwrap_or_else(|| self.target_pace.most_at_once())
    }

    /// What is to be kept of this pair of stores.
    fn wanted(&self) -> AttributeSet {
        let both = self.source.capabilities().holds.and(self.target.capabilities().holds);
        self.options.keep.and(both)
    }

    async fn attempt(self: &Arc<Self>, entry: &Entry) -> Result<Copied> {
        if entry.kind != Kind::Object {
            return self.put_other(entry).await;
        }
        let capabilities = self.target.capabilities();
        // An empty object costs no less that way, and some servers do not copy the markers of directories.
        let server_side = entry.size > 0 && self.copies_server_side();
        if server_side && entry.size <= capabilities.max_copy_bytes {
            return self.copy_server_side(entry).await;
        }
        let whole_bytes = capabilities.preferred_put_bytes.min(capabilities.max_put_bytes);
        let cut = if capabilities.disk_calls.is_some() { Cut::streamed } else { Cut::new };
        let cut = capabilities.parts.filter(|_| entry.size > whole_bytes).map(|limits| cut(entry.size, &limits));
        match cut {
            Some(Some(cut)) => self.copy_in_parts(entry, cut, server_side).await,
            None if entry.size <= capabilities.max_put_bytes => self.copy_whole(entry).await,
            _ => Err(StoreError::unholdable(self.target.name(), &entry.key, "it is too large")),
        }
    }

    fn copies_server_side(&self) -> bool {
        self.options.server_side && self.target.copies_from(self.source.as_ref())
    }

    /// A directory or a symbolic link.
    async fn put_other(&self, entry: &Entry) -> Result<Copied> {
        let _slot = self.target_pace.slot().await;
        let object = self.source_object(entry).await?;
        self.put_without_bytes(&object).await
    }

    async fn put_without_bytes(&self, object: &Object) -> Result<Copied> {
        let mut request = self.request_of(object);
        if request.kind == Kind::Directory && !self.target.capabilities().holds.has(AttributeKind::Directories) {
            request.kind = Kind::Object;
        }
        request.size = 0;
        self.target_pace.request().await;
        let stored = self.target.put(&request, Body::empty()).await?;
        Ok(self.done(object, 0, &stored, false, &Checksums::none()))
    }

    async fn copy_server_side(&self, entry: &Entry) -> Result<Copied> {
        let _slot = self.target_pace.slot().await;
        let object = self.source_object(entry).await?;
        let request =
            CopyRequest { source: entry.key.clone(), identity: entry.identity(), target: self.request_of(&object) };
        self.target_pace.request().await;
        let stored = self.target.copy(self.source.as_ref(), &request).await?;
        let known = known(entry, &object);
        self.verify(&request.target, &stored, &known).await?;
        Ok(self.done(&object, entry.size, &stored, true, &known))
    }

    async fn copy_whole(&self, entry: &Entry) -> Result<Copied> {
        let _memory = self.memory(entry.size).await;
        let _slot = self.target_pace.slot().await;
        self.source_pace.request().await;
        let request = ReadRequest { wanted: self.wanted(), ..ReadRequest::whole(&entry.key, &entry.identity()) };
        let reading = self.source.read(&request).await?;
        let object = self.completed(entry, reading.object).await?;
        // Only its metadata say that the object is a link.
        if let Kind::Symlink { .. } = object.entry.kind {
            return self.put_without_bytes(&object).await;
        }
        let mut request = self.request_of(&object);
        let known = known(entry, &object);
        let checked = Checked::new(self, &entry.key, reading.bytes, entry.size, known.clone(), self.extra(&known));
        self.target_pace.request().await;
        let (stored, computed) = if self.is_gathered(entry.size) {
            let (bytes, computed) = checked.collect().await?;
            request.checksums = self.sent(&computed);
            (self.target.put(&request, Body::Whole(bytes)).await?, computed)
        } else {
            let (body, computed) = checked.into_body();
            let stored = self.target.put(&request, body).await?;
            let computed = computed.lock().take();
            (stored, computed.ok_or_else(|| StoreError::bug(format!("{} was stored before its end", entry.key)))?)
        };
        self.verify(&request, &stored, &computed).await?;
        Ok(self.done(&object, entry.size, &stored, false, &computed))
    }

    /// The source's object with the attributes that are wanted, in the state that was listed.
    async fn source_object(&self, entry: &Entry) -> Result<Object> {
        self.source_pace.request().await;
        let object = self.source.head(&entry.key, self.wanted()).await?;
        if !entry.identity().may_be(&object.entry.identity()) {
            return Err(StoreError::changed(&entry.key, "it is in another state than was listed"));
        }
        Ok(object)
    }

    /// The object, looked at once more if what was told with its bytes lacks something that is wanted.
    async fn completed(&self, entry: &Entry, object: Object) -> Result<Object> {
        if self.wanted().without(object.known).is_empty() { Ok(object) } else { self.source_object(entry).await }
    }

    fn request_of(&self, object: &Object) -> PutRequest {
        let mut request = PutRequest::copy_of(object);
        request.origin = self.origin_of(object);
        if !self.suffix.is_empty() {
            let name = [request.key.as_bytes(), &self.suffix].concat();
            request.key = Key::new(name).expect("whoever adds a suffix has looked at the length");
        }
        let kept = self.options.keep;
        if !kept.has(AttributeKind::UserMetadata) {
            request.attributes.user.clear();
        }
        if !kept.has(AttributeKind::Tags) {
            request.attributes.tags.clear();
        }
        request.attributes.grants = if kept.has(AttributeKind::Grants) {
            self.grants_there(&request.attributes.grants)
        } else {
            BTreeSet::new()
        };
        let class = request.attributes.storage_class.take().filter(|_| kept.has(AttributeKind::StorageClass));
        request.attributes.storage_class = self.options.storage_class.clone().or_else(|| self.class_there(class));
        if !kept.has(AttributeKind::Mode) {
            request.attributes.posix = None;
        }
        request
    }

    /// What was granted that means the same at the target: users of one server are not those of another.
    fn grants_there(&self, grants: &BTreeSet<Grant>) -> BTreeSet<Grant> {
        let same_users = self.target.copies_from(self.source.as_ref());
        let has_meaning = |grant: &&Grant| same_users || matches!(grant.grantee, Grantee::Group(_));
        grants.iter().filter(has_meaning).cloned().collect()
    }

    /// What a file is to remember of its object. It need not where it has the object's own time.
    fn origin_of(&self, object: &Object) -> Option<Origin> {
        let tells_less = self.source.capabilities().posix_in_metadata.is_some() && object.attributes.posix.is_some();
        Origin::of(&object.entry).filter(|_| tells_less)
    }

    /// A class of the source in the target's words. One that has no such words is left as it is: the target says so.
    fn class_there(&self, class: Option<String>) -> Option<String> {
        let class = class?;
        let providers = Provider::of(self.source.name()).zip(Provider::of(self.target.name()));
        let translated = providers.filter(|(from, to)| from != to).and_then(|(from, to)| translated(&class, from, to));
        Some(translated.map_or(class, ToOwned::to_owned))
    }

    /// What is computed beside CRCs: MD5 where it is all that a store knows.
    fn extra(&self, known: &Checksums) -> Extra {
        let capabilities = self.target.capabilities();
        let has_crc = |algorithms: &[Algorithm]| {
            algorithms.iter().any(|algorithm| matches!(algorithm, Algorithm::Crc32c | Algorithm::Crc64Nvme))
        };
        let has_md5 = |algorithms: &[Algorithm]| algorithms.contains(&Algorithm::Md5);
        let crcs = known.whole(Algorithm::Crc32c).or(known.whole(Algorithm::Crc64Nvme));
        let source = known.whole(Algorithm::Md5).is_some() && crcs.is_none();
        let verifies = has_md5(&capabilities.verifies) && !has_crc(&capabilities.verifies);
        let reports = has_md5(&capabilities.reports) && !has_crc(&capabilities.reports);
        Extra {
            md5: source || verifies || reports,
            blake3: self.options.blake3 || known.whole(Algorithm::Blake3).is_some(),
        }
    }

    /// The best checksum that the target verifies.
    fn sent(&self, computed: &Checksums) -> Checksums {
        let verifies = &self.target.capabilities().verifies;
        verifies.iter().find_map(|algorithm| computed.whole(*algorithm)).into_iter().collect()
    }

    /// Compares what was stored with what was read. A copy that is known to be wrong does not stay.
    async fn verify(&self, request: &PutRequest, stored: &Stored, computed: &Checksums) -> Result<()> {
        let wrong = if stored.size.is_some_and(|size| size != request.size) {
            Some("its length is another than that of the source".to_owned())
        } else if let Agreement::Different(algorithm) = computed.agreement(&stored.checksums) {
            Some(format!("its {algorithm} is another than that of the source"))
        } else if self.options.verify == Verify::ReadBack {
            self.read_back(request, computed).await?
        } else {
            None
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let removed = self.target.delete(std::slice::from_ref(&request.key)).await;
        if let Some(error) = removed.map_or_else(Some, |outcomes| outcomes.into_iter().find_map(Result::err)) {
            tracing::warn!(key = %request.key, %error, "a wrong copy could not be removed");
        }
        Err(StoreError::corrupt(self.target.name(), &request.key, wrong))
    }

    /// What is wrong with the copy when it is read again.
    async fn read_back(&self, request: &PutRequest, computed: &Checksums) -> Result<Option<String>> {
        let entry = self.target.head(&request.key, AttributeSet::NONE).await?.entry;
        if entry.size != request.size {
            return Ok(Some(format!("it has {} bytes, its source {}", entry.size, request.size)));
        }
        let found = self.checksums_of(&self.target, &entry, self.extra(computed)).await?;
        Ok(match found.agreement(computed) {
            Agreement::Equal => None,
            Agreement::Different(algorithm) => Some(format!("read again, its {algorithm} is another")),
            Agreement::Unknown => Some("it was read again and nothing to compare it with is known".to_owned()),
        })
    }

    fn done(&self, object: &Object, bytes: u64, stored: &Stored, server_side: bool, known: &Checksums) -> Copied {
        let counts = Counts {
            copied: 1,
            copied_bytes: bytes,
            copied_server_side: u64::from(server_side),
            ..self.counts(object, stored)
        };
        let recorded = self.options.blake3.then(|| Box::new(Recorded::of(&object.entry, known)));
        Copied::Done { counts, server_side, recorded }
    }

    /// What is counted of attributes that the target does not hold.
    fn counts(&self, object: &Object, stored: &Stored) -> Counts {
        let kept = self.options.keep.and(object.attributes.kinds());
        let left_out = kept.without(self.target.capabilities().holds).or(stored.left_out.and(kept));
        let loses_grants = kept.has(AttributeKind::Grants)
            && self.grants_there(&object.attributes.grants).len() < object.attributes.grants.len();
        let left_out = if loses_grants { left_out.or(AttributeSet::of(&[AttributeKind::Grants])) } else { left_out };
        let is_linked = object.entry.links > 1 && self.options.keep.has(AttributeKind::HardLinks);
        let links_lost = is_linked && !self.target.capabilities().holds.has(AttributeKind::HardLinks);
        Counts {
            attributes_left_out: u64::from(!left_out.is_empty()),
            links_not_kept: u64::from(links_lost),
            keys_escaped: u64::from(stored.escaped),
            ..Counts::default()
        }
    }

    /// Whether so many bytes are gathered before they are stored: servers want to know the checksum first, and can be
    /// sent what is in memory again. A disk is given what comes as it comes, but for what is a few chunks from a network.
    fn is_gathered(&self, len: u64) -> bool {
        let most = match (self.source.capabilities().disk_calls, self.target.capabilities().disk_calls) {
            (_, None) => WHOLE_PUT_BYTES,
            (None, Some(_)) => SMALL_DISK_PUT_BYTES,
            (Some(_), Some(_)) => CHUNK_BYTES as u64,
        };
        len <= most
    }

    /// Room for the bytes of a copy: all that are gathered, or those that are on their way.
    async fn memory(&self, len: u64) -> Option<OwnedSemaphorePermit> {
        let held = if self.is_gathered(len) { len } else { len.min(STREAM_MEMORY_BYTES) };
        Arc::clone(&self.memory).acquire_many_owned(u32::try_from(held).ok()?).await.ok()
    }
}

/// What the source told of its checksums, in the listing and with its bytes.
fn known(entry: &Entry, object: &Object) -> Checksums {
    let mut known = entry.checksums.clone();
    for (scope, sum) in object.entry.checksums.iter() {
        known.add(scope, sum);
    }
    known
}

/// A key in the words of an error.
pub(crate) fn journal_error(key: &Key, error: &crate::journal::JournalError) -> StoreError {
    StoreError::unavailable("the journal", format!("note {key}"), error)
}
