//! Challenges of readmission: random, for one host, good once and for a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use fleet_model::HostName;
use tokio::time::Instant;
use tonic::Status;

const LIFE: Duration = Duration::from_secs(60);
const BYTES: usize = 32;
/// Open at a time. Far above a fleet that comes back at once.
const OPEN: usize = 20_000;

#[derive(Default)]
pub(super) struct Challenges(Mutex<HashMap<Vec<u8>, (HostName, Instant)>>);

impl Challenges {
    pub(super) fn give(&self, host: &HostName) -> Result<Vec<u8>, Status> {
        let mut challenge = vec![0; BYTES];
        rand::fill(&mut challenge)
            .map_err(|_| Status::internal("the system gave no randomness"))?;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if open.len() >= OPEN {
            open.retain(|_, (_, ends)| *ends > now);
        }
        if open.len() >= OPEN {
            return Err(Status::resource_exhausted("too many readmissions at once; try again"));
        }
        open.insert(challenge.clone(), (host.clone(), now + LIFE));
        Ok(challenge)
    }

    /// Uses a challenge up, whatever comes of it.
    pub(super) fn take(&self, host: &HostName, challenge: &[u8]) -> Result<(), Status> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.remove(challenge) {
            Some((whose, ends)) if whose == *host && ends > Instant::now() => Ok(()),
            _ => Err(Status::permission_denied(
                "the challenge is not one of ours, used already or older than a minute; ask for a new one",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_challenge_is_good_once_for_one_host_and_for_a_minute() {
        let challenges = Challenges::default();
        let (a, b): (HostName, HostName) = ("a".parse().expect("a"), "b".parse().expect("b"));
        let first = challenges.give(&a).expect("given");
        assert!(challenges.take(&a, &first).is_ok());
        assert!(challenges.take(&a, &first).is_err(), "once");
        let second = challenges.give(&a).expect("given");
        assert!(challenges.take(&b, &second).is_err(), "for one host");
        let third = challenges.give(&a).expect("given");
        tokio::time::advance(LIFE).await;
        assert!(challenges.take(&a, &third).is_err(), "for a minute");
    }
}
