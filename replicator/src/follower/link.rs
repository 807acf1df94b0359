//! One connection to the upstream: a task that makes the calls it is told to, in order, and
//! hands on what comes. Dropped, it ends and brings nothing more.

use std::time::Duration;

use bytes::Bytes;
use farshore_meta::DURABLE;
use farshore_proto::{Position, wire};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::core::{Event, Identity};
use super::fault::Fault;
use crate::error::ReplicatorError;
use crate::message::{self, BadMessage, Delivery};
use crate::upstream::{Client, Upstream, within_call};

/// Reports that wait to be sent; more of them are not worth sending.
const REPORTS: usize = 4;
/// How long a stream may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Call {
    Register(Option<Position>),
    Snapshot(Vec<u8>),
    Follow(Position),
}

/// A connection's driver's end.
#[derive(Debug)]
pub(crate) struct Link {
    calls: mpsc::Sender<Call>,
    reports: mpsc::Sender<wire::FollowRequest>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to connect as the mirror that people call `name`.
    pub(crate) fn begin(upstream: Upstream, identity: Identity, name: String) -> Self {
        let (calls, call_queue) = mpsc::channel(2);
        let (reports, report_queue) = mpsc::channel(REPORTS);
        let (out, events) = mpsc::channel(1);
        let line = Line { upstream, identity, name, out };
        let task = tokio::spawn(line.run(call_queue, report_queue));
        Self { calls, reports, events, task }
    }

    /// The next thing that comes; `None` once it has ended and told why.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Has it make a call after those before. The queue is never full: the next call is made
    /// only after what the one before brought.
    pub(crate) fn call(&self, call: Call) {
        if self.calls.try_send(call).is_err() {
            tracing::debug!("a call on a connection that has ended");
        }
    }

    /// Sends a report, unless earlier ones still wait: the next will tell more.
    pub(crate) fn report(&self, applied: Position, visible: Option<Position>, ping: u64) {
        let report = wire::FollowReport { applied: Some(applied.into()), visible: visible.map(Into::into), ping };
        let event = Some(wire::follow_request::Event::Report(report));
        if self.reports.try_send(wire::FollowRequest { event }).is_err() {
            tracing::debug!("a report was left out: earlier ones still wait");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task's end.
struct Line {
    upstream: Upstream,
    identity: Identity,
    name: String,
    out: mpsc::Sender<Event>,
}

impl Line {
    async fn run(self, calls: mpsc::Receiver<Call>, reports: mpsc::Receiver<wire::FollowRequest>) {
        if let Err(fault) = self.serve(calls, reports).await {
            // The receiver is gone only when the link was dropped.
            self.out.send(Event::Lost(fault)).await.ok();
        }
    }

    async fn serve(
        &self,
        mut calls: mpsc::Receiver<Call>,
        reports: mpsc::Receiver<wire::FollowRequest>,
    ) -> Result<(), Fault> {
        let (mut client, described) = self.upstream.connect().await.map_err(Fault::Passing)?;
        self.hand_on(Event::Connected(described?)).await;
        let mut reports = Some(reports);
        while let Some(call) = calls.recv().await {
            match call {
                Call::Register(from) => self.register(&mut client, from).await?,
                Call::Snapshot(begin) => self.snapshot(&mut client, begin).await?,
                Call::Follow(from) => {
                    let Some(reports) = reports.take() else {
                        return Ok(());
                    };
                    self.follow(&mut client, from, reports).await?;
                }
            }
        }
        Ok(())
    }

    async fn hand_on(&self, event: Event) {
        // The receiver is gone only when the link was dropped, and then this task ends.
        self.out.send(event).await.ok();
    }

    fn fault(&self, status: &Status) -> Fault {
        Fault::of(status, self.upstream.url())
    }

    fn malformed(&self, reason: &BadMessage) -> Fault {
        Fault::Passing(self.upstream.malformed(reason.to_string()))
    }

    fn ended(&self) -> Fault {
        Fault::Passing(self.upstream.unreachable("it closed the connection".to_owned()))
    }

    fn volume_id(&self) -> Bytes {
        Bytes::copy_from_slice(self.identity.volume_id.as_bytes())
    }

    fn mirror_id(&self) -> Bytes {
        Bytes::copy_from_slice(self.identity.mirror_id.as_bytes())
    }

    async fn register(&self, client: &mut Client, from: Option<Position>) -> Result<(), Fault> {
        let request = wire::RegisterRequest {
            volume_id: self.volume_id(),
            mirror_id: self.mirror_id(),
            mirror_name: self.name.clone(),
            resume_from: from.map(Into::into),
        };
        let reply = within_call(client.register(request)).await.map_err(|status| self.fault(&status))?;
        let pinned = message::position(reply.pinned.as_ref()).map_err(|error| self.malformed(&error))?;
        self.hand_on(Event::Registered(pinned)).await;
        Ok(())
    }

    async fn snapshot(&self, client: &mut Client, mut begin: Vec<u8>) -> Result<(), Fault> {
        let request = wire::SnapshotRequest {
            volume_id: self.volume_id(),
            mirror_id: self.mirror_id(),
            begin: begin.clone().into(),
            end: Bytes::from_static(DURABLE.1),
        };
        let mut pages = self.begin(client.snapshot(request)).await?;
        loop {
            let page = pages.message().await.map_err(|status| self.fault(&status))?;
            let page = page.ok_or_else(|| self.ended())?;
            let page = message::page_from_wire(page, &begin).map_err(|error| self.malformed(&error))?;
            let (next, last) = (page.next.clone(), page.last);
            self.hand_on(Event::Page { begin: std::mem::replace(&mut begin, next), page }).await;
            if last {
                return Ok(());
            }
        }
    }

    async fn follow(
        &self,
        client: &mut Client,
        from: Position,
        reports: mpsc::Receiver<wire::FollowRequest>,
    ) -> Result<(), Fault> {
        let start =
            wire::FollowStart { volume_id: self.volume_id(), mirror_id: self.mirror_id(), from: Some(from.into()) };
        let start = wire::FollowRequest { event: Some(wire::follow_request::Event::Start(start)) };
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(start), ReceiverStream::new(reports));
        let mut intervals = self.begin(client.follow(requests)).await?;
        loop {
            let interval = intervals.message().await.map_err(|status| self.fault(&status))?;
            let interval = interval.ok_or_else(|| self.ended())?;
            let delivery = Delivery::from_wire(interval).map_err(|error| self.malformed(&error))?;
            self.hand_on(Event::Delivered(delivery)).await;
        }
    }

    async fn begin<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<Streaming<T>>, Status>>,
    ) -> Result<Streaming<T>, Fault> {
        match tokio::time::timeout(BEGIN_WITHIN, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.fault(&status)),
            Err(_) => Err(Fault::Passing(self.slow())),
        }
    }

    fn slow(&self) -> ReplicatorError {
        self.upstream.unreachable(format!("it began no stream within {} s", BEGIN_WITHIN.as_secs()))
    }
}
