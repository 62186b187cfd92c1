//! The fleet's numbers, each in one place. `docs/numbers.md` shows the same table; a test compares
//! the two.

use std::time::Duration;

/// A listener that is not online this long after its start is in trouble.
pub const START_UP_GRACE: Duration = Duration::from_secs(60);
/// An agent that Azure shows offline this long is in trouble.
pub const OFFLINE_GRACE: Duration = Duration::from_secs(5 * 60);
/// A once-mode listener that has not ended this long after its job hangs.
pub const HANG_WATCHDOG: Duration = Duration::from_secs(60);
/// First wait after a failed start.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between starts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// Waits are spread by this many per cent to both sides.
pub const BACKOFF_JITTER_PERCENT: u32 = 20;
/// First wait after the engine said that it has no such image and could not pull it. Longer than
/// after a failed start: it is the same answer for every agent of the pool, and a registry is asked.
pub const IMAGE_BACKOFF_FIRST: Duration = Duration::from_secs(60);
/// Failures within [`QUARANTINE_WINDOW`] that put an agent into quarantine.
pub const QUARANTINE_FAILURES: u32 = 5;
/// See [`QUARANTINE_FAILURES`].
pub const QUARANTINE_WINDOW: Duration = Duration::from_secs(30 * 60);
/// How long a quarantined agent is kept.
pub const QUARANTINE_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Of a group's agents on a host at most this many per cent (at least one) put themselves into
/// quarantine, and as many are replaced: when more fail alike, the fault is not theirs.
pub const QUARANTINE_SHARE_PERCENT: u32 = 20;
/// Longest quarantine that an operator may ask for.
pub const QUARANTINE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest time that an operator may name for a cordon, a pause or a drain, or for its deadline.
pub const RESTRAINT_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long events are kept.
pub const EVENTS_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A session sends a heartbeat this often, both ways.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A host not heard of for this long is Down.
pub const HOST_LEASE: Duration = Duration::from_secs(30);
/// Between the two reads of a disabled row without a request that allow a stop.
pub const SETTLE: Duration = Duration::from_secs(20);
/// An answer of Azure may show what was up to this long ago.
pub const AZURE_STALE: Duration = Duration::from_secs(30);
/// A row without an agent goes when it has been offline this long.
pub const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two looks for such rows, where there may be any.
pub const TIDY_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long an operator's leave to remove without Azure's word stands.
pub const FORCED_LAPSE: Duration = Duration::from_secs(60 * 60);
/// Most characters of an operator's reason.
pub const REASON_MAX: usize = 300;
/// The start cap's bucket holds this many times the wanted agents of a pool on a host.
pub const START_CAP_BURST_FACTOR: u32 = 2;
/// Starts that the start cap gives back each minute.
pub const START_CAP_REFILL_PER_MINUTE: u32 = 10;
/// Life of a host's certificate.
pub const HOST_CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of a join token.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(10 * 60);
/// A known key may come back this long after its certificate expired.
pub const READMIT_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most agents that a pool may be scaled to. Far above any lab; a typing error is not.
pub const REPLICAS_MAX: u32 = 500_000;
/// Most agents of one pool on one host: the slot number of a name stays readable.
pub const SLOTS_MAX: u16 = 999;
/// A host that is asked for a log begins to tell it within this time.
pub const LOG_OFFER_LIMIT: Duration = Duration::from_secs(10);
/// Logs that are read at the same time, of all hosts together.
pub const LOGS_MAX: u32 = 64;
/// Logs that are read at the same time of one host.
pub const LOGS_PER_HOST: u32 = 16;
/// Most bytes of a log in one message.
pub const LOG_CHUNK_MAX: u32 = 64 * 1024;
/// Most bytes of a log's line; what is longer is cut, and says so.
pub const LOG_LINE_MAX: u32 = 16 * 1024;
/// Free room of a disk is measured this often.
pub const DISK_MEASURE: Duration = Duration::from_secs(30);
/// A measurement older than this says nothing any more.
pub const DISK_STALE: Duration = Duration::from_secs(5 * 60);
/// Below this many per cent of free room what is not used is removed.
pub const DISK_CLEAN_PERCENT: u8 = 15;
/// Below this many per cent of free room agents are paused, until there is twice as much.
pub const DISK_PAUSE_PERCENT: u8 = 5;
/// The same below this many MiB, so that what runs can end on a small disk too; of one so small that
/// they are more than [`DISK_PAUSE_SHARE_MAX`], that share counts.
pub const DISK_PAUSE_MIB: u32 = 2048;
/// See [`DISK_PAUSE_MIB`]; per cent.
pub const DISK_PAUSE_SHARE_MAX: u8 = 10;
/// What is not used is looked for this often, and at once when a disk gets worse.
pub const DISK_CLEAN_EVERY: Duration = Duration::from_secs(60 * 60);
/// What agents and caches take is measured this often.
pub const DISK_SIZES_EVERY: Duration = Duration::from_secs(15 * 60);
/// An agent package or a pulled image that nothing uses is removed after this time, also where there
/// is room.
pub const CACHE_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The same of evidence of runs.
pub const EVIDENCE_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A home or a slot's directory of no agent is removed when it was seen so for this long, and never
/// before.
pub const LEFT_OVER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(time: Duration) -> String {
        let secs = time.as_secs();
        match () {
            () if secs > 86_400 && secs.is_multiple_of(86_400) => format!("{} d", secs / 86_400),
            () if secs >= 3_600 && secs.is_multiple_of(3_600) => format!("{} h", secs / 3_600),
            () if secs > 60 && secs.is_multiple_of(60) => format!("{} min", secs / 60),
            () => format!("{secs} s"),
        }
    }

    /// Name and value of each number, as the table in `docs/numbers.md` has them.
    fn table() -> Vec<(&'static str, String)> {
        vec![
            ("START_UP_GRACE", secs(START_UP_GRACE)),
            ("OFFLINE_GRACE", secs(OFFLINE_GRACE)),
            ("HANG_WATCHDOG", secs(HANG_WATCHDOG)),
            ("BACKOFF_FIRST", secs(BACKOFF_FIRST)),
            ("BACKOFF_MAX", secs(BACKOFF_MAX)),
            ("BACKOFF_JITTER_PERCENT", BACKOFF_JITTER_PERCENT.to_string()),
            ("IMAGE_BACKOFF_FIRST", secs(IMAGE_BACKOFF_FIRST)),
            ("QUARANTINE_FAILURES", QUARANTINE_FAILURES.to_string()),
            ("QUARANTINE_WINDOW", secs(QUARANTINE_WINDOW)),
            ("QUARANTINE_TIME", secs(QUARANTINE_TIME)),
            ("QUARANTINE_SHARE_PERCENT", QUARANTINE_SHARE_PERCENT.to_string()),
            ("QUARANTINE_MAX", secs(QUARANTINE_MAX)),
            ("RESTRAINT_MAX", secs(RESTRAINT_MAX)),
            ("EVENTS_KEPT", secs(EVENTS_KEPT)),
            ("HEARTBEAT", secs(HEARTBEAT)),
            ("HOST_LEASE", secs(HOST_LEASE)),
            ("SETTLE", secs(SETTLE)),
            ("AZURE_STALE", secs(AZURE_STALE)),
            ("LEFTOVER_AGE", secs(LEFTOVER_AGE)),
            ("TIDY_EVERY", secs(TIDY_EVERY)),
            ("FORCED_LAPSE", secs(FORCED_LAPSE)),
            ("REASON_MAX", REASON_MAX.to_string()),
            ("START_CAP_BURST_FACTOR", START_CAP_BURST_FACTOR.to_string()),
            ("START_CAP_REFILL_PER_MINUTE", START_CAP_REFILL_PER_MINUTE.to_string()),
            ("HOST_CERTIFICATE_LIFE", secs(HOST_CERTIFICATE_LIFE)),
            ("JOIN_TOKEN_LIFE", secs(JOIN_TOKEN_LIFE)),
            ("READMIT_WINDOW", secs(READMIT_WINDOW)),
            ("REPLICAS_MAX", REPLICAS_MAX.to_string()),
            ("SLOTS_MAX", SLOTS_MAX.to_string()),
            ("LOG_OFFER_LIMIT", secs(LOG_OFFER_LIMIT)),
            ("LOGS_MAX", LOGS_MAX.to_string()),
            ("LOGS_PER_HOST", LOGS_PER_HOST.to_string()),
            ("LOG_CHUNK_MAX", LOG_CHUNK_MAX.to_string()),
            ("LOG_LINE_MAX", LOG_LINE_MAX.to_string()),
            ("DISK_MEASURE", secs(DISK_MEASURE)),
            ("DISK_STALE", secs(DISK_STALE)),
            ("DISK_CLEAN_PERCENT", DISK_CLEAN_PERCENT.to_string()),
            ("DISK_PAUSE_PERCENT", DISK_PAUSE_PERCENT.to_string()),
            ("DISK_PAUSE_MIB", DISK_PAUSE_MIB.to_string()),
            ("DISK_PAUSE_SHARE_MAX", DISK_PAUSE_SHARE_MAX.to_string()),
            ("DISK_CLEAN_EVERY", secs(DISK_CLEAN_EVERY)),
            ("DISK_SIZES_EVERY", secs(DISK_SIZES_EVERY)),
            ("CACHE_KEPT", secs(CACHE_KEPT)),
            ("EVIDENCE_KEPT", secs(EVIDENCE_KEPT)),
            ("LEFT_OVER_KEPT", secs(LEFT_OVER_KEPT)),
        ]
    }

    #[test]
    fn the_documented_numbers_are_these() {
        let page = include_str!("../../../docs/numbers.md");
        let rows: Vec<(String, String)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
            })
            .filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            .collect();
        let table: Vec<(String, String)> =
            table().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(rows, table);
        // A number that is in neither list would be in no table at all.
        let source = include_str!("numbers.rs");
        let declared = source.lines().filter(|line| line.starts_with("pub const ")).count();
        assert_eq!(declared, table.len(), "a number is missing from the table");
    }
}
