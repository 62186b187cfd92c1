//! Follows the coordinator's changes through breaks: a coordinator that restarts while somebody
//! waits must not end the waiting.

use std::{collections::VecDeque, time::Duration};

use fleet_proto::{exit::Exit, v1};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::{
    connect::Session,
    error::Failure,
    live::{Change, Live},
};

/// Before a stream is opened again; doubled from try to try. A coordinator that takes every stream
/// and breaks it at once must not be asked in a tight loop either.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What to do when the very first stream cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstContact {
    /// Fail: nothing has been asked for yet.
    MustSucceed,
    /// Try again like later: an order was accepted, and the coordinator may be restarting.
    MayTakeTime,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Change(Change),
    /// The stream broke, for this reason; it is being opened again. Told once per break.
    Lost(String),
    /// What the request is narrowed to does not exist (any more); here is the error for whoever
    /// did not expect that.
    NotThere(Failure),
}

/// A stream of changes that opens itself again.
pub(crate) struct Feed {
    session: Session,
    request: v1::WatchRequest,
    first: FirstContact,
    stream: Option<Streaming<v1::WatchResponse>>,
    pub(crate) live: Live,
    queue: VecDeque<Step>,
    /// Before the next try; zero before the first.
    pause: Duration,
    opened: Instant,
    broken: bool,
}

impl Feed {
    pub(crate) fn new(session: &Session, request: v1::WatchRequest, first: FirstContact) -> Self {
        Self {
            session: session.clone(),
            request,
            first,
            stream: None,
            live: Live::default(),
            queue: VecDeque::new(),
            pause: Duration::ZERO,
            opened: Instant::now(),
            broken: false,
        }
    }

    /// The next thing that happens. `live` already holds it.
    ///
    /// # Errors
    /// When the coordinator refuses, which no second try would change.
    pub(crate) async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            if let Some(step) = self.queue.pop_front() {
                return Ok(step);
            }
            let read = match &mut self.stream {
                None => self.open().await,
                Some(stream) => match stream.message().await {
                    Ok(Some(message)) => {
                        self.take(message);
                        Ok(())
                    }
                    Ok(None) => Err(Status::unavailable("the coordinator ended the stream")),
                    Err(status) => Err(status),
                },
            };
            if let Err(status) = read {
                self.lose(status).await?;
            }
        }
    }

    fn take(&mut self, message: v1::WatchResponse) {
        let changes = self.live.take(message);
        if self.live.synced {
            self.broken = false;
            self.first = FirstContact::MayTakeTime;
        }
        self.queue.extend(changes.into_iter().map(Step::Change));
    }

    async fn open(&mut self) -> Result<(), Status> {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let mut client = self.session.client();
        let stream = self.session.within_limit(client.watch(self.request.clone())).await?;
        self.live.restart();
        self.stream = Some(stream);
        self.opened = Instant::now();
        Ok(())
    }

    async fn lose(&mut self, status: Status) -> Result<(), Failure> {
        // A stream that lived longer than the longest pause was a good one.
        if self.stream.take().is_some() && self.opened.elapsed() > LONGEST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        if status.code() == Code::NotFound {
            let failure = self.session.explain("follow the fleet", status).await;
            self.queue.push_back(Step::NotThere(failure));
            return Ok(());
        }
        if is_final(&status) || self.first == FirstContact::MustSucceed {
            return Err(self.session.explain("follow the fleet", status).await);
        }
        if !self.broken {
            self.broken = true;
            let why = self.session.explain("follow the fleet", status).await.brief();
            self.queue.push_back(Step::Lost(why));
        }
        Ok(())
    }
}

/// Answers that stay the same however often one asks.
pub(crate) fn is_final(status: &Status) -> bool {
    let senseless = [Code::InvalidArgument, Code::Unimplemented];
    Exit::of(status) == Exit::Refused || senseless.contains(&status.code())
}
