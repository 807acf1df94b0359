//! The calls that workers make. Each is checked, and each act is done once, however often its call comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use farshore_proto::limits::SYNC_PROTOCOL;
use farshore_proto::wire;
use farshore_proto::wire::sync_describe_part::Part;
use farshore_proto::wire::sync_work_reply::Outcome;
use farshore_proto::wire::sync_work_request::Act;
use futures::stream::{self, Stream, StreamExt};
use parking_lot::{Mutex, RwLock};
use tonic::{Request, Response, Status};

use super::convert::{
    Checked, after_from, amounts_from, amounts_to, claim_to, claimed_part_from, key_from, name_from, part_claim_to,
    part_from, range_from, range_to, refusal_to, sender_from, settle_from, upload_from, upload_to, uploads_to,
};
use super::members::{Members, Numbers};
use super::{Description, Watcher};
use crate::budget::{Budget, Limits};
use crate::journal::{ClaimedRange, Result as JournalResult, WorkerId, WorkerJournal};
use crate::limits::MAX_WORKER_BYTES;
use crate::rates::Rates;

/// Bytes of a file in one message.
const PIECE_BYTES: usize = 1 << 20;

type Served<T> = Result<Response<T>, Status>;
type Parts = Pin<Box<dyn Stream<Item = Result<wire::SyncDescribePart, Status>> + Send>>;

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Service {
    journal: Arc<dyn WorkerJournal>,
    description: Description,
    rates: Rates,
    budget: Mutex<Budget>,
    pub(crate) members: Members,
    watcher: Arc<dyn Watcher>,
    begun: Instant,
    /// Why the job ended before its end, if it did.
    pub(crate) ended: RwLock<Option<String>>,
}

impl Service {
    pub(crate) fn new(
        journal: Arc<dyn WorkerJournal>,
        description: Description,
        rates: Rates,
        watcher: Arc<dyn Watcher>,
    ) -> Self {
        let budget = Mutex::new(Budget::new(&rates.limits(), Duration::ZERO));
        let (members, ended) = (Members::default(), RwLock::default());
        Self { journal, description, rates, budget, members, watcher, begun: Instant::now(), ended }
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What a process may use of the limits until it asks again.
    pub(crate) fn grant(&self, member: &str, wanted: Limits) -> Limits {
        let mut budget = self.budget.lock();
        budget.set(&self.rates.limits(), self.now());
        budget.grant(member, wanted, self.now())
    }

    fn check_job(&self, job: &[u8]) -> Result<(), Status> {
        if job != self.description.job {
            return Err(Status::failed_precondition(
                "the job that this worker began with is no longer there; start the worker again for the new one",
            ));
        }
        match self.ended.read().as_ref() {
            Some(reason) => Err(Status::failed_precondition(format!("the job was given up: {reason}"))),
            None => Ok(()),
        }
    }

    fn parts(&self) -> Vec<wire::SyncDescribePart> {
        let description = wire::SyncDescription {
            job: Bytes::copy_from_slice(&self.description.job),
            fingerprint: Bytes::copy_from_slice(&self.description.fingerprint),
            source: self.description.source.clone(),
            target: self.description.target.clone(),
            args: self.description.args.clone(),
            moment_ns: self.description.moment_ns,
            lease_ms: self.description.lease.as_millis() as u64,
            wants_lines: self.description.wants_lines,
            limits: Some(amounts_to(&self.description.limits)),
        };
        let mut parts = vec![Part::Description(description)];
        for (option, data) in &self.description.files {
            // A file of no bytes has a piece too.
            let mut rest = data.clone();
            loop {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                parts.push(Part::File(wire::SyncFilePiece { option: option.clone(), data: piece }));
                if rest.is_empty() {
                    break;
                }
            }
        }
        parts.into_iter().map(|part| wire::SyncDescribePart { part: Some(part) }).collect()
    }
}

#[async_trait]
impl wire::coordinator_server::Coordinator for Shared {
    type DescribeStream = Parts;

    async fn describe(&self, request: Request<wire::SyncDescribeRequest>) -> Served<Self::DescribeStream> {
        let wire::SyncDescribeRequest { protocol, version } = request.into_inner();
        let (ours, known) = (env!("CARGO_PKG_VERSION"), SYNC_PROTOCOL);
        if protocol != known || version != ours {
            return Err(Status::failed_precondition(format!(
                "this is farshore {ours} (protocol {known}) and the worker is farshore {} (protocol {protocol}); all \
                 of a job's processes must be of one version",
                version.escape_debug()
            )));
        }
        let parts = self.0.parts().into_iter().map(Ok);
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    async fn work(&self, request: Request<wire::SyncWorkRequest>) -> Served<wire::SyncWorkReply> {
        let request = request.into_inner();
        self.0.check_job(&request.job)?;
        check_member(&request.member)?;
        let act = request.act.ok_or_else(|| Status::invalid_argument("a call says nothing"))?;
        let answer = self.0.members.answer(&request.member, request.serial, self.0.now());
        let journal = Arc::clone(&self.0.journal);
        // A task of its own: a connection that is cut must not cut a step of the journal.
        let acted = tokio::spawn(async move {
            let make = || async { wire::SyncWorkReply { outcome: Some(do_act(journal.as_ref(), act).await) } };
            answer.get_or_init(make).await.clone()
        });
        acted.await.map(Response::new).map_err(|error| Status::internal(format!("a call panicked: {error}")))
    }

    async fn tell(&self, request: Request<wire::SyncTellRequest>) -> Served<wire::SyncTellReply> {
        let request = request.into_inner();
        self.0.check_job(&request.job)?;
        check_member(&request.member)?;
        let service = &self.0;
        let numbers: Numbers = request.numbers.unwrap_or_default().into();
        let is_new = service.members.tell(&request.member, request.serial, numbers, request.leaves, service.now());
        if is_new {
            service.watcher.told(&service.members.sum(), &request.lines);
        }
        let granted = service.grant(&request.member, amounts_from(request.wanted));
        Ok(Response::new(wire::SyncTellReply { granted: Some(amounts_to(&granted)) }))
    }
}

/// The service as tonic wants it.
#[derive(Debug, Clone)]
pub(crate) struct Shared(pub(crate) Arc<Service>);

fn check_member(member: &str) -> Result<(), Status> {
    if member.is_empty() || member.len() > MAX_WORKER_BYTES {
        return Err(Status::invalid_argument("a process has no name, or one that is too long"));
    }
    Ok(())
}

/// Does one act; what it refuses is an answer too.
async fn do_act(journal: &dyn WorkerJournal, act: Act) -> Outcome {
    match try_act(journal, act).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => refusal_to(&error),
        Err(reason) => refusal_to(&crate::journal::JournalError::invalid(reason)),
    }
}

async fn try_act(journal: &dyn WorkerJournal, act: Act) -> Checked<JournalResult<Outcome>> {
    let done = |result: JournalResult<()>| result.map(|()| Outcome::Done(wire::SyncNothing {}));
    Ok(match act {
        Act::Claim(worker) => journal.claim(&WorkerId(worker)).await.map(|claim| claim_to(&claim)),
        Act::WantsRanges(_) => journal.wants_ranges().await.map(Outcome::Wanted),
        Act::Split(split) => {
            let left = journal.split(&range_from(split.range)?, &split.at).await;
            left.map(|left| Outcome::Range(range_to(&left)))
        }
        Act::Settle(settle) => {
            let (claimed, settled) = settle_from(settle)?;
            journal.settle(&claimed, settled).await.map(|left| left_to(left.as_ref()))
        }
        Act::Renew(range) => done(journal.renew(&range_from(Some(range))?).await),
        Act::Release(range) => done(journal.release(&range_from(Some(range))?).await),
        Act::UploadOf(key) => journal.upload_of(&key_from(key)?).await.map(|upload| {
            upload.map_or(Outcome::Done(wire::SyncNothing {}), |record| Outcome::Upload(upload_to(&record)))
        }),
        Act::BeginUpload(upload) => done(journal.begin_upload(&upload_from(upload)?).await),
        Act::FinishPart(part) => {
            let (upload, part) = part_from(part)?;
            done(journal.finish_part(&upload, &part).await)
        }
        Act::EndUpload(name) => done(journal.end_upload(&name_from(Some(name))?).await),
        Act::Share(sender) => {
            let (sender, upload) = sender_from(Some(sender))?;
            done(journal.share(&sender, &upload).await)
        }
        Act::KeepShared(sender) => {
            let (sender, upload) = sender_from(Some(sender))?;
            done(journal.keep_shared(&sender, &upload).await)
        }
        Act::Withdraw(sender) => {
            let (sender, upload) = sender_from(Some(sender))?;
            done(journal.withdraw(&sender, &upload).await)
        }
        Act::Shared(after) => {
            let (after, limit) = after_from(after)?;
            journal.shared(after.as_ref(), limit).await.map(|records| uploads_to(&records))
        }
        Act::ClaimPart(sender) => {
            let (sender, upload) = sender_from(Some(sender))?;
            journal.claim_part(&sender, &upload).await.map(part_claim_to)
        }
        Act::RenewPart(claimed) => done(journal.renew_part(&claimed_part_from(claimed)?).await),
        Act::ReleasePart(claimed) => done(journal.release_part(&claimed_part_from(claimed)?).await),
    })
}

fn left_to(left: Option<&ClaimedRange>) -> Outcome {
    left.map_or(Outcome::Finished(wire::SyncNothing {}), |left| Outcome::Range(range_to(left)))
}
