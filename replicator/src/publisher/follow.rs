//! One follower's stream: intervals out, reports and pings in.
//!
//! The interval is read only once there is room to send it, so that what is committed while a
//! slow link is busy goes out together. The engine's version is taken before the interval is
//! read: a commit in between makes the wait return at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farshore_meta::{FsError, Interval, MirrorRecord, Region, Role};
use farshore_proto::limits::INTERVAL_TARGET_BYTES;
use farshore_proto::{Incarnation, Position, RegionId, Version, wire};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::outlet::Outlet;
use super::recorder::Recorder;
use crate::lineage::Lineage;
use crate::message::{self, Delivery};
use crate::reason::{Reason, status_of};

/// What a stream sends: intervals, and last an error.
pub(crate) type Sent = Result<wire::Interval, Status>;

/// Who follows, from where, and with what.
pub(crate) struct Follower {
    pub(crate) region: Arc<Region>,
    pub(crate) lineage: Lineage,
    pub(crate) mirror: RegionId,
    pub(crate) from: Position,
    pub(crate) inbound: Streaming<wire::FollowRequest>,
    pub(crate) out: mpsc::Sender<Sent>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Why a stream ends.
enum End {
    /// The follower went away, or the publisher stops.
    Over,
    /// The follower is told why.
    Refused(Status),
}

impl From<FsError> for End {
    fn from(error: FsError) -> Self {
        Self::Refused(status_of(&error))
    }
}

struct Serving {
    region: Arc<Region>,
    lineage: Lineage,
    mirror: RegionId,
    from: Position,
    outlet: Outlet,
    recorder: Recorder,
    started: Instant,
    inbound: Streaming<wire::FollowRequest>,
    out: mpsc::Sender<Sent>,
    stopping: watch::Receiver<bool>,
}

/// Serves a follower until it goes away.
pub(crate) async fn serve(follower: Follower) {
    let Follower { region, lineage, mirror, from, inbound, out, stopping, permit } = follower;
    let mut serving = Serving {
        region,
        lineage,
        mirror,
        from,
        outlet: Outlet::new(Duration::ZERO),
        recorder: Recorder::new(from, Duration::ZERO),
        started: Instant::now(),
        inbound,
        out,
        stopping,
    };
    let end = serving.run().await;
    if let End::Refused(status) = end {
        tracing::info!(%mirror, reason = status.message(), "a mirror's stream ends");
        // The follower may be gone already; there is nobody else to tell.
        serving.out.send(Err(status)).await.ok();
    }
    serving.record_last().await;
    drop(permit);
}

impl Serving {
    async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    /// Sends an interval, or waits for something that makes one worth sending.
    async fn step(&mut self) -> Result<(), End> {
        let room = self.room().await?;
        let seen = self.region.engine_version().await?;
        let (ping, behind) = (self.outlet.ping(), self.lineage.behind());
        let interval = self.read().await?;
        let Some(pong) = self.outlet.decide(&interval, ping, self.now()) else {
            drop(room);
            return self.wait(seen).await;
        };
        self.from = interval.to;
        self.recorder.sent(interval.to, !interval.commits.is_empty());
        room.send(Ok(Delivery { interval, pong, behind }.into_wire()));
        self.outlet.sent(pong, self.now());
        Ok(())
    }

    async fn read(&self) -> Result<Interval, End> {
        let error = match self.region.interval(self.from, INTERVAL_TARGET_BYTES).await {
            Ok(interval) => return Ok(interval),
            Err(error) => error,
        };
        let lags = matches!(error, FsError::Diverged(_)) && matches!(self.region.role(), Role::Mirror { .. });
        if lags {
            let text = "this mirror has not yet come as far as the one that wants to follow it";
            return Err(End::Refused(Reason::NotReady.status(text)));
        }
        Err(error.into())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until another interval can be sent.
    async fn room(&mut self) -> Result<mpsc::OwnedPermit<Sent>, End> {
        loop {
            let out = self.out.clone();
            let record_at = self.started + self.recorder.due_at();
            tokio::select! {
                room = out.reserve_owned() => return room.map_err(|_| End::Over),
                request = self.inbound.message() => self.take(request)?,
                () = sleep_until(record_at) => self.record().await?,
                () = stopped(&mut self.stopping) => return Err(End::Over),
            }
        }
    }

    /// Waits for a commit after `seen`, a report, or the time of a heartbeat or a record.
    async fn wait(&mut self, seen: Version) -> Result<(), End> {
        let record_at = self.recorder.due_at();
        let due = self.started + record_at.min(self.outlet.heartbeat_at());
        tokio::select! {
            changed = self.region.changed_since(seen) => changed?,
            request = self.inbound.message() => self.take(request)?,
            () = sleep_until(due) => {}
            () = self.out.closed() => return Err(End::Over),
            () = stopped(&mut self.stopping) => return Err(End::Over),
        }
        if self.now() >= record_at { self.record().await } else { Ok(()) }
    }

    /// Takes what the follower says.
    fn take(&mut self, request: Result<Option<wire::FollowRequest>, Status>) -> Result<(), End> {
        let Ok(Some(request)) = request else {
            return Err(End::Over);
        };
        let Some(wire::follow_request::Event::Report(report)) = request.event else {
            return Err(refused("after its start a follower sends reports only"));
        };
        self.outlet.pinged(report.ping);
        let Some(applied) = &report.applied else {
            return Ok(());
        };
        let applied = message::position(Some(applied)).map_err(|error| refused(&error.to_string()))?;
        let visible = report.visible.as_ref().map(|visible| message::position(Some(visible)));
        let visible = visible.transpose().map_err(|error| refused(&error.to_string()))?;
        let reported = self.recorder.reported(applied, visible);
        reported.map_err(|_| refused("it reports more than it was sent"))
    }

    async fn record(&mut self) -> Result<(), End> {
        let (applied, visible) = self.recorder.positions();
        let record = MirrorRecord {
            id: self.mirror,
            name: String::new(),
            applied,
            visible: visible.unwrap_or_else(before_all),
            heard_unix_ms: unix_ms(),
        };
        if !self.region.advance_mirror(&record).await? {
            let text = "this mirror is not registered, or was evicted; it must register again";
            return Err(End::Refused(Reason::NotRegistered.status(text)));
        }
        self.recorder.recorded(self.now());
        Ok(())
    }

    async fn record_last(&mut self) {
        if !self.recorder.has_news() {
            return;
        }
        if let Err(End::Refused(status)) = self.record().await {
            tracing::debug!(reason = status.message(), "a mirror's last report was not recorded");
        }
    }
}

/// Returns once the publisher stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    stopping.wait_for(|stopping| *stopping).await.ok();
}

fn refused(reason: &str) -> End {
    End::Refused(Status::invalid_argument(reason))
}

/// The position of a mirror that shows nothing yet.
pub(crate) fn before_all() -> Position {
    Position::start_of(Incarnation::new(0, [0; 12]))
}

/// This region's clock, for records that people read and leases that last for days.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
