//! From the simulator's state to the service's JSON: absent keys in place of null, times with up to
//! seven digits, demands as strings.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Agent, Job, Pool, World};

/// What a caller asked to have included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Include {
    pub(super) capabilities: bool,
    pub(super) assigned: bool,
    pub(super) last_completed: bool,
}

/// The address of the organisation as this caller knows it; goes into links.
pub(super) struct Wire<'a> {
    pub(super) base: &'a str,
    pub(super) world: &'a World,
}

const SCOPE: &str = "2ad38d1e-3eaf-4769-931c-3a2da67bbb01";

/// UTC with 100 ns resolution and no zeros at the end, as .NET writes it.
pub(super) fn time(at: Timestamp) -> String {
    let ticks = at.subsec_nanosecond() / 100;
    let fraction = format!("{ticks:07}");
    let fraction = fraction.trim_end_matches('0');
    let seconds = at.strftime("%Y-%m-%dT%H:%M:%S");
    if fraction.is_empty() { format!("{seconds}Z") } else { format!("{seconds}.{fraction}Z") }
}

/// A list as the service sends it.
pub(super) fn list(rows: Vec<Value>) -> Value {
    json!({ "count": rows.len(), "value": rows })
}

/// An object without the keys whose value is absent.
fn present<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Map<String, Value> {
    pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect()
}

fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}

impl Wire<'_> {
    pub(super) fn pool(&self, pool: &Pool) -> Value {
        let identity = self.identity();
        let mut all = self.pool_reference(pool);
        let more = json!({
            "createdOn": time(pool.created_on), "autoProvision": pool.auto_provision,
            "autoUpdate": pool.auto_update, "createdBy": identity, "owner": identity,
        });
        // Null here and nowhere else; the hosted pool shows what only hosted pools have.
        all.insert("autoSize".into(), if pool.is_hosted { json!(true) } else { Value::Null });
        if pool.is_hosted {
            all.extend(present([("targetSize", some(1)), ("agentCloudId", some(1))]));
        }
        all.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(all)
    }

    pub(super) fn pool_reference(&self, pool: &Pool) -> Map<String, Value> {
        present([
            ("id", some(pool.id)),
            ("scope", some(SCOPE)),
            ("name", some(pool.name.clone())),
            ("isHosted", some(pool.is_hosted)),
            ("poolType", some("automation")),
            ("size", some(pool.agents.len())),
            ("isLegacy", some(pool.is_hosted)),
            ("options", some("none")),
        ])
    }

    /// A project's view of a pool.
    pub(super) fn queue(&self, project: Uuid, pool: &Pool) -> Value {
        json!({ "id": pool.id, "projectId": project, "name": pool.name, "pool": self.pool_reference(pool) })
    }

    fn identity(&self) -> Value {
        let (id, base) = ("00000002-0000-8888-8000-000000000000", self.base);
        let descriptor = "s2s.c2ltdWxhdG9y";
        let avatar = format!("{base}/_apis/GraphProfile/MemberAvatars/{descriptor}");
        json!({
            "displayName": "azdo-sim", "url": format!("{base}/_apis/Identities/{id}"),
            "_links": { "avatar": { "href": avatar } }, "id": id,
            "uniqueName": format!("{id}@sim"), "imageUrl": avatar, "descriptor": descriptor,
        })
    }

    /// An agent as named in job requests; online ones have an access point.
    pub(super) fn agent_reference(&self, pool: i64, agent: &Agent) -> Map<String, Value> {
        let (base, id) = (self.base, agent.id);
        let links = json!({
            "self": { "href": format!("{base}/_apis/distributedtask/pools/{pool}/agents/{id}") },
            "web": { "href": format!("{base}/_settings/agentpools?view=jobs&poolId={pool}&agentId={id}") },
        });
        let online = agent.is_online();
        present([
            ("_links", Some(links)),
            ("id", some(id)),
            ("name", some(agent.name.clone())),
            ("version", agent.version.clone().map(Value::from)),
            ("osDescription", agent.os_description.clone().map(Value::from)),
            ("enabled", some(agent.enabled)),
            ("status", some(if online { "online" } else { "offline" })),
            ("provisioningState", some(agent.provisioning_state.clone())),
            ("accessPoint", online.then(|| json!("CodexAccessMapping"))),
        ])
    }

    pub(super) fn agent(&self, pool: i64, agent: &Agent, include: Include) -> Map<String, Value> {
        let mut all = self.agent_reference(pool, agent);
        let request = |id: Option<i64>| {
            id.and_then(|id| self.world.jobs.get(&id)).map(|j| self.job(j, false))
        };
        all.extend(present([
            ("maxParallelism", some(agent.max_parallelism)),
            ("createdOn", some(time(agent.created_on))),
            ("statusChangedOn", agent.status_changed_on.map(|at| json!(time(at)))),
            ("authorization", Some(json!({ "clientId": agent.client_id }))),
            ("assignedRequest", request(agent.assigned.filter(|_| include.assigned))),
            (
                "lastCompletedRequest",
                request(agent.last_completed.filter(|_| include.last_completed)),
            ),
            ("pendingUpdate", self.pending_update(agent)),
        ]));
        if include.capabilities {
            all.insert("systemCapabilities".into(), json!(agent.system_capabilities));
            let user = Some(&agent.user_capabilities).filter(|c| !c.is_empty());
            all.extend(present([("userCapabilities", user.map(|c| json!(c)))]));
        }
        all
    }

    /// The answer to a registration: the only one with the token address and the key.
    pub(super) fn registered(&self, pool: i64, agent: &Agent) -> Value {
        let mut all = self.agent(pool, agent, Include { capabilities: true, ..Include::default() });
        let key = agent.public_key.as_ref();
        let authorization = present([
            ("authorizationUrl", some(format!("{}/_apis/oauth2/token", self.base))),
            ("clientId", some(agent.client_id.to_string())),
            ("publicKey", key.map(|k| json!({ "exponent": k.exponent, "modulus": k.modulus }))),
        ]);
        let server = json!({ "ServerUrl": { "$type": "System.String", "$value": format!("{}/", self.base) } });
        all.insert("authorization".into(), Value::Object(authorization));
        all.insert("properties".into(), server);
        Value::Object(all)
    }

    fn pending_update(&self, agent: &Agent) -> Option<Value> {
        let update = agent.pending_update.as_ref()?;
        Some(Value::Object(present([
            ("sourceVersion", update.source_version.as_deref().map(version)),
            ("targetVersion", Some(version(&update.target_version))),
            ("requestTime", some(time(update.request_time))),
            ("requestedBy", Some(self.identity())),
            ("currentState", update.current_state.clone().map(Value::from)),
            ("reason", Some(json!({ "code": "manual" }))),
        ])))
    }

    /// A job request; the matching agents are the costly part and only some lists have them.
    pub(super) fn job(&self, job: &Job, with_matched: bool) -> Value {
        let mut all = self.job_times(job);
        let reserved = job.reserved.as_ref().map(|(id, name)| {
            let row =
                self.world.agent(job.pool, *id).ok().map(|a| self.agent_reference(job.pool, a));
            row.map_or_else(
                || json!({ "id": id, "name": name, "status": "offline" }),
                Value::Object,
            )
        });
        let demands: Vec<String> = job.demands.iter().map(ToString::to_string).collect();
        all.extend(present([
            ("serviceOwner", some("00025394-6065-48ca-87d9-7f5672854ef7")),
            ("hostId", some("41a18c7d-df5e-4032-a4df-d533b56bd2de")),
            ("scopeId", some(project_id(&job.form.project).to_string())),
            ("planType", some("Build")),
            ("planId", some(job.plan_id.to_string())),
            ("jobId", some(job.job_id.to_string())),
            ("jobName", some(job.name())),
            ("demands", (!demands.is_empty()).then(|| json!(demands))),
            ("reservedAgent", reserved),
            ("definition", Some(self.build_link("definition", job.pool, "nightly"))),
            (
                "owner",
                Some(self.build_link(
                    "owner",
                    job.id,
                    &format!("{}.1", job.queue_time.strftime("%Y%m%d")),
                )),
            ),
            ("data", Some(json!({ "ParallelismTag": "Private", "IsScheduledKey": "False" }))),
            ("poolId", some(job.pool)),
            ("orchestrationId", some(format!("{}.build.__default", job.plan_id))),
            ("statusMessage", job.status_message.clone().map(Value::from)),
            ("priority", some(0)),
        ]));
        if with_matched {
            self.add_matched(&mut all, job);
        }
        Value::Object(all)
    }

    fn job_times(&self, job: &Job) -> Map<String, Value> {
        let at = |t: Option<Timestamp>| t.map(|t| json!(time(t)));
        present([
            ("requestId", some(job.id)),
            ("queueTime", at(Some(job.queue_time))),
            ("assignTime", at(job.assign_time)),
            ("receiveTime", at(job.receive_time)),
            ("finishTime", at(job.finish_time)),
            ("lockedUntil", at(job.locked_until)),
            ("result", job.result.clone().map(Value::from)),
        ])
    }

    fn add_matched(&self, all: &mut Map<String, Value>, job: &Job) {
        let rows: Vec<Value> = self
            .world
            .matched(job)
            .map(|a| Value::Object(self.agent_reference(job.pool, a)))
            .collect();
        let registered = self.world.pools.get(&job.pool).map_or(0, |p| p.agents.len());
        if job.form.demands.is_empty() && registered > 0 && rows.len() == registered {
            all.insert("matchesAllAgentsInPool".into(), json!(true));
        }
        if !rows.is_empty() {
            all.insert("matchedAgents".into(), json!(rows));
        }
    }

    fn build_link(&self, kind: &str, id: i64, name: &str) -> Value {
        let (base, build) = (self.base, kind == "owner");
        let (web, own) = if build {
            (format!("_build/results?buildId={id}"), format!("_apis/build/Builds/{id}"))
        } else {
            (
                format!("_build/definition?definitionId={id}"),
                format!("_apis/build/Definitions/{id}"),
            )
        };
        let links = json!({ "web": { "href": format!("{base}/{web}") }, "self": { "href": format!("{base}/{own}") } });
        json!({ "_links": links, "id": id, "name": name })
    }
}

/// A version as three numbers.
pub(super) fn version(text: &str) -> Value {
    let mut parts = text.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    json!({ "major": next(), "minor": next(), "patch": next() })
}

/// The same project name always has the same id.
pub(super) fn project_id(name: &str) -> Uuid {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.to_ascii_lowercase().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(digest.as_ref().get(..16).unwrap_or(&[0; 16]));
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn times_have_seven_digits_and_no_zeros_at_the_end() {
        let check = |given: &str, wanted: &str| assert_eq!(time(given.parse().unwrap()), wanted);
        check("2022-09-28T11:20:29.503333399Z", "2022-09-28T11:20:29.5033333Z");
        check("2022-09-28T11:19:49.890Z", "2022-09-28T11:19:49.89Z");
        check("2022-09-28T11:19:49.007Z", "2022-09-28T11:19:49.007Z");
        check("2022-09-28T11:19:49Z", "2022-09-28T11:19:49Z");
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!(version("4.260.0"), json!({ "major": 4, "minor": 260, "patch": 0 }));
    }
}
