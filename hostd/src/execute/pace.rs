//! The pace that Azure asks for: who is slowed down says so on good answers too, and who does not
//! listen is blocked.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A shorter wait is waited out; a longer one goes back to the plan, which has other things to do.
const WAITED_OUT: Duration = Duration::from_secs(5);

/// When each pool may be asked about next. Pools by the address of their organization and name.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<BTreeMap<(String, String), Instant>>);

impl Paces {
    /// Waits until the pool may be asked, or says how long that will be.
    pub(super) async fn turn(&self, url: &str, pool: &str) -> Result<(), Duration> {
        let until = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&(url.to_owned(), pool.to_owned())).copied()
        };
        let Some(until) = until else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left > WAITED_OUT {
            return Err(left);
        }
        tokio::time::sleep(left).await;
        Ok(())
    }

    /// Takes in what an answer asked for.
    pub(super) fn heard(&self, url: &str, pool: &str, wait: Option<Duration>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (url.to_owned(), pool.to_owned());
        match wait {
            Some(wait) => {
                all.insert(key, Instant::now() + wait);
            }
            // An earlier wish stands until it has passed.
            None if all.get(&key).is_some_and(|until| *until <= Instant::now()) => {
                all.remove(&key);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wish_holds_the_next_question_back() {
        let paces = Paces::default();
        assert_eq!(paces.turn("u", "p").await, Ok(()));
        paces.heard("u", "p", Some(Duration::from_secs(30)));
        paces.heard("u", "p", None);
        assert_eq!(paces.turn("u", "p").await, Err(Duration::from_secs(30)));
        assert_eq!(paces.turn("u", "other").await, Ok(()));
        tokio::time::advance(Duration::from_secs(28)).await;
        let before = Instant::now();
        assert_eq!(paces.turn("u", "p").await, Ok(()));
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }
}
