//! An engine that does not answer is asked again after longer and longer waits, and said to be down
//! once for each cause.

use std::time::Duration;

use tokio::sync::mpsc;

use super::RuntimeEvent;

const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// From one connection to the next.
pub(super) struct Again {
    engine: &'static str,
    wait: Duration,
    /// The cause that was said last.
    said: String,
}

impl Again {
    /// Of this engine, as people call it.
    pub(super) fn of(engine: &'static str) -> Self {
        Self { engine, wait: WAIT_FIRST, said: String::new() }
    }

    /// A connection broke, or did not come about (`was_up` is false). Says so and waits.
    pub(super) async fn broke(
        &mut self,
        why: String,
        was_up: bool,
        out: &mpsc::Sender<RuntimeEvent>,
    ) {
        if was_up {
            *self = Self::of(self.engine);
        }
        // The same cause again is no news.
        if why != self.said {
            tracing::warn!(%why, "{} does not answer", self.engine);
            let _ = out.send(RuntimeEvent::EngineDown(why.clone())).await;
            self.said = why;
        }
        tokio::time::sleep(self.wait.mul_f64(rand::random_range(0.8..1.2))).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cause_is_said_once_and_waits_grow_until_it_was_up_again() {
        let (out, mut heard) = mpsc::channel(16);
        let mut again = Again::of("it");
        let mut waits = Vec::new();
        for (why, was_up) in [("a", false), ("a", false), ("b", false), ("a", true)] {
            let began = Instant::now();
            again.broke(why.to_owned(), was_up, &out).await;
            waits.push(began.elapsed().as_millis());
        }
        drop(out);
        let mut said = Vec::new();
        while let Some(event) = heard.recv().await {
            said.push(event);
        }
        let down = |why: &str| RuntimeEvent::EngineDown(why.to_owned());
        assert_eq!(said, [down("a"), down("b"), down("a")]);
        assert!(waits[1] > waits[0] && waits[2] > waits[1] && waits[3] <= 240, "{waits:?}");
    }
}
