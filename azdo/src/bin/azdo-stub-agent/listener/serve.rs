//! The listener's loop: one owner of what runs, fed by signals, the poll, the job's end and the update's end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use reqwest::Method;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::Context;
use super::message::{Kind, Message};
use super::notify::Notifier;
use super::poll::{self, Current};
use super::run_job::Running;
use super::session::{self, Session};
use super::signals::{Signals, Stop};
use super::update;
use crate::api::Call;
use crate::exit::Exit;
use crate::job::Job;
use crate::term;

/// One message may wait while another is handled.
const MESSAGES: usize = 1;

struct Listener {
    context: Arc<Context>,
    notifier: Arc<Mutex<Notifier>>,
    current: Current,
    running: Option<Running>,
    /// Jobs that came while another ran; the server is not supposed to do that.
    waiting: VecDeque<Job>,
    update: Option<JoinHandle<bool>>,
    /// Tells the update that no job runs.
    idle: watch::Sender<bool>,
    /// Once mode: the one job has been taken.
    taken: bool,
}

/// Why the loop ended.
enum End {
    /// A signal.
    Stopped(Stop),
    /// Nothing left to do.
    Leave { exit: Exit, hang: bool },
    /// The poll is over.
    Broken(Exit),
}

/// Serves one session (and its successors) to the listener's end.
pub(crate) async fn serve(context: Arc<Context>, session: Session, mut signals: Signals) -> Exit {
    let current = Arc::new(StdMutex::new(session));
    let notifier = match Notifier::connect(&context).await {
        Ok(notifier) => Arc::new(Mutex::new(notifier)),
        Err(error) => {
            term::error(&format!("An error occurred: {error:#}"));
            session::delete(&context, &poll::session(&current)).await;
            return Exit::Retryable;
        }
    };
    let (sender, mut messages) = mpsc::channel(MESSAGES);
    let mut poll = tokio::spawn(Box::pin(poll::poll(context.clone(), current.clone(), sender)));
    let keep_alive = tokio::spawn(poll::keep_alive(context.clone()));
    let mut listener = Listener {
        context,
        notifier,
        current,
        running: None,
        waiting: VecDeque::new(),
        update: None,
        idle: watch::Sender::new(true),
        taken: false,
    };
    let end = listener.run(&mut signals, &mut messages, &mut poll).await;
    poll.abort();
    keep_alive.abort();
    listener.leave(end, signals).await
}

impl Listener {
    async fn run(
        &mut self,
        signals: &mut Signals,
        messages: &mut mpsc::Receiver<Message>,
        poll: &mut JoinHandle<Exit>,
    ) -> End {
        loop {
            // Ends before beginnings: a message must not start a job after a signal or the once job's end.
            tokio::select! {
                biased;
                stop = signals.next() => return End::Stopped(stop),
                hang = finished(&mut self.running) => if let Some(end) = self.job_ended(hang) { return end },
                ready = updated(&mut self.update) => if ready { return self.leave_for_update() },
                Some(message) = messages.recv() => self.handle(message).await,
                exit = &mut *poll => return End::Broken(exit.unwrap_or(Exit::Retryable)),
            }
        }
    }

    fn job_ended(&mut self, hang: bool) -> Option<End> {
        if self.context.once {
            return Some(End::Leave { exit: Exit::Success, hang });
        }
        match self.waiting.pop_front() {
            Some(job) => self.start(job),
            None => drop(self.idle.send_replace(true)),
        }
        None
    }

    fn leave_for_update(&self) -> End {
        let exit = if self.context.once { Exit::RunOnceUpdating } else { Exit::Updating };
        End::Leave { exit, hang: false }
    }

    async fn handle(&mut self, message: Message) {
        let id = message.id;
        let keep = match message.kind {
            Kind::Job(job) => !self.take(*job),
            Kind::Cancel { job_id, timeout } => {
                self.cancel(&job_id, timeout);
                false
            }
            Kind::Refresh { version } => {
                self.refresh(version);
                false
            }
            Kind::Unknown(name) => {
                self.context.diag.log(&format!("Message {id} of type '{name}' is not understood"));
                false
            }
        };
        if !keep {
            self.forget(id).await;
        }
    }

    /// False = the job is not for us; its message stays at the server, which will see to it.
    fn take(&mut self, job: Job) -> bool {
        if self.update.is_some() || (self.context.once && self.taken) {
            self.context.diag.log(&format!("Job {} is left to the server", job.job_id));
            return false;
        }
        self.taken = true;
        if self.running.is_some() {
            self.waiting.push_back(job);
        } else {
            self.start(job);
        }
        true
    }

    fn start(&mut self, job: Job) {
        self.idle.send_replace(false);
        self.running = Some(Running::start(self.context.clone(), self.notifier.clone(), job));
    }

    fn cancel(&mut self, job_id: &str, timeout: Duration) {
        self.waiting.retain(|job| job.job_id != job_id);
        if let Some(running) = self.running.as_ref().filter(|running| running.job_id == job_id) {
            running.cancel(timeout);
        }
    }

    fn refresh(&mut self, version: String) {
        let context = &self.context;
        if context.environment.get("agent.disableupdate").is_some() {
            context.diag.log("Update refused by agent.disableupdate");
        } else if self.update.is_none() && !(context.once && self.taken) {
            self.update = Some(tokio::spawn(Box::pin(update::update(
                context.clone(),
                version,
                self.idle.subscribe(),
            ))));
        }
    }

    async fn forget(&self, id: i64) {
        let session = poll::session(&self.current);
        let path = self.context.connection.pool(&format!("messages/{id}"));
        let call = Call::new(Method::DELETE, path).query("sessionId", &session.id);
        if let Err(error) = self.context.connection.send(&call).await {
            self.context.diag.log(&format!("Message {id} was not deleted: {error}"));
        }
    }

    /// Ends what still runs, then the session. SIGTERM leaves a limited time for all of it.
    async fn leave(mut self, end: End, mut signals: Signals) -> Exit {
        let (stop, exit, hang) = match end {
            End::Stopped(stop) => (stop, Exit::Success, false),
            End::Leave { exit, hang } => (Stop::Interrupt, exit, hang),
            End::Broken(exit) => (Stop::Interrupt, exit, false),
        };
        if matches!(end, End::Stopped(_)) {
            term::line("Exiting...");
        }
        let limit = self.context.settings.unload;
        tokio::select! {
            () = self.wind_up(hang) => exit,
            () = signals.unloaded(stop, limit) => Exit::Unloaded,
        }
    }

    async fn wind_up(&mut self, hang: bool) {
        if let Some(running) = self.running.take() {
            running.cancel(self.context.settings.cancel_grace);
            let _ = running.done.await;
        }
        session::delete(&self.context, &poll::session(&self.current)).await;
        if hang && self.context.once {
            // A known fault of some agent versions: the last thing they do is to delete the session.
            std::future::pending::<()>().await;
        }
    }
}

/// The running job's end; never, when none runs. A job that panicked has ended, too.
async fn finished(running: &mut Option<Running>) -> bool {
    let Some(job) = running.as_mut() else { return std::future::pending().await };
    let hang = (&mut job.done).await.unwrap_or(false);
    *running = None;
    hang
}

/// The update's end: true = ready to be swapped in.
async fn updated(update: &mut Option<JoinHandle<bool>>) -> bool {
    let Some(task) = update.as_mut() else { return std::future::pending().await };
    let ready = task.await.unwrap_or(false);
    *update = None;
    ready
}
