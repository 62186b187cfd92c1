//! Where things are: what Microsoft's own clients ask before they ask anything else.
//!
//! The ids are the fixed names of the resources, as Microsoft's published clients know them.

use serde_json::{Value, json};

use super::super::wire::list;
use super::super::{Caller, Refusal};
use super::Ask;
use super::answer::Answer;

struct Location {
    id: &'static str,
    area: &'static str,
    name: &'static str,
    template: &'static str,
    /// The newest released version; `0.0` for what never was.
    released: &'static str,
    resource_version: u32,
}

const fn at(
    id: &'static str,
    area: &'static str,
    name: &'static str,
    template: &'static str,
    released: &'static str,
    resource_version: u32,
) -> Location {
    Location { id, area, name, template, released, resource_version }
}

const TASK: &str = "distributedtask";
const IN_POOL: &str = "_apis/{area}/pools/{poolId}/{resource}";

#[rustfmt::skip]
const LOCATIONS: [Location; 16] = [
    at("a8c47e17-4d56-4a56-92bb-de7ea7dc65be", TASK, "pools", "_apis/{area}/{resource}/{poolId}", "7.1", 1),
    at("e298ef32-5878-4cab-993c-043836571f42", TASK, "agents", "_apis/{area}/pools/{poolId}/{resource}/{agentId}", "7.1", 1),
    at("30ba3ada-fedf-4da8-bbb5-dacf2f82e176", TASK, "usercapabilities", "_apis/{area}/pools/{poolId}/agents/{agentId}/{resource}", "0.0", 1),
    at("8cc1b02b-ae49-4516-b5ad-4f9b29967c30", TASK, "updates", "_apis/{area}/pools/{poolId}/agents/{agentId}/{resource}", "0.0", 1),
    at("fc825784-c92a-4299-9221-998a02d1b54f", TASK, "jobrequests", "_apis/{area}/pools/{poolId}/{resource}/{requestId}", "0.0", 1),
    at("134e239e-2df3-4794-a6f6-24f1f19ec8dc", TASK, "sessions", "_apis/{area}/pools/{poolId}/{resource}/{sessionId}", "0.0", 1),
    at("c3a054f6-7a8a-49c0-944e-3a8e5d7adfd7", TASK, "messages", "_apis/{area}/pools/{poolId}/{resource}/{messageId}", "0.0", 1),
    at("8ffcd551-079c-493a-9c02-54346299d144", TASK, "packages", "_apis/{area}/{resource}/{packageType}/{platform}/{version}", "0.0", 2),
    at("900fa995-c559-4923-aae7-f8424fe4fbea", TASK, "queues", "{project}/_apis/{area}/{resource}/{queueId}", "0.0", 1),
    at("381dd2bb-35cf-4103-ae8c-3c815b25763c", TASK, "poolroles", IN_POOL, "0.0", 1),
    at("eae1d376-a8b1-4475-9041-1dfdbe8f0143", TASK, "resourceusage", "_apis/{area}/{resource}", "0.0", 2),
    at("1f1f0557-c445-42a6-b4a0-0df605a3a0f8", TASK, "resourcelimits", "_apis/{area}/{resource}", "0.0", 1),
    at("00d9565f-ed9c-4a06-9a50-00e7896ccab4", "Location", "ConnectionData", "_apis/{resource}", "0.0", 1),
    at("e81700f7-3be2-46de-8624-2eb35882fcaa", "Location", "ResourceAreas", "_apis/{resource}/{areaId}", "0.0", 1),
    at("d810a47d-f4f4-4a62-a03f-fa1860585c4c", "Location", "ServiceDefinitions", "_apis/{resource}/{serviceType}/{identifier}", "0.0", 1),
    at("585028ce-1f4f-4f4c-9d2c-1d0a3bd7fd7d", "core", "projects", "_apis/{resource}/{*projectId}", "7.1", 4),
];

/// Resource areas served here: id and name.
const AREAS: [(&str, &str); 2] = [
    ("a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd", "distributedtask"),
    ("951917ac-a960-4999-8464-e3f0aa25b381", "location"),
];

const INSTANCE: &str = "41a18c7d-df5e-4032-a4df-d533b56bd2de";

/// All locations, or those of one area.
pub(super) fn locations(area: Option<&str>) -> Answer {
    let wanted = |l: &&Location| area.is_none_or(|a| l.area.eq_ignore_ascii_case(a));
    Answer::json(list(LOCATIONS.iter().filter(wanted).map(Location::describe).collect()))
}

impl Location {
    fn describe(&self) -> Value {
        json!({
            "id": self.id, "area": self.area, "resourceName": self.name, "routeTemplate": self.template,
            "resourceVersion": self.resource_version, "minVersion": "1.0", "maxVersion": "7.2",
            "releasedVersion": self.released,
        })
    }
}

/// Everything is served at this one address.
pub(super) fn areas(base: &str, id: Option<&str>) -> Result<Answer, Refusal> {
    let describe = |(id, name): &(&str, &str)| json!({ "id": id, "name": name, "locationUrl": format!("{base}/") });
    let Some(wanted) = id else {
        return Ok(Answer::json(list(AREAS.iter().map(describe).collect())));
    };
    let found = AREAS.iter().find(|(id, _)| id.eq_ignore_ascii_case(wanted)).map(describe);
    found.map(Answer::json).ok_or_else(|| Refusal::no_resource(wanted))
}

/// Who the caller is.
pub(super) fn connection_data(ask: &Ask) -> Answer {
    let (id, name) = match &ask.caller {
        Some(Caller::Person { name, .. }) => {
            ("22157d54-1821-6536-a446-928b06348385".to_owned(), name.clone())
        }
        Some(Caller::Listener { agent, .. }) => {
            (format!("00000000-0000-0000-0000-{agent:012}"), format!("agent {agent}"))
        }
        None => ("00000000-0000-0000-0000-000000000000".to_owned(), "anonymous".to_owned()),
    };
    let user = json!({
        "id": id, "providerDisplayName": name, "isActive": true,
        "descriptor": format!("Microsoft.IdentityModel.Claims.ClaimsIdentity;{name}"),
        "subjectDescriptor": "aad.c2lt", "properties": {},
    });
    let base = &ask.base;
    let mapping = json!({ "displayName": "Host Guid Access Mapping", "moniker": "HostGuidAccessMapping", "accessPoint": base, "serviceOwner": INSTANCE, "virtualDirectory": "" });
    Answer::json(json!({
        "authenticatedUser": user, "authorizedUser": user, "instanceId": INSTANCE, "deploymentId": INSTANCE,
        "deploymentType": "hosted",
        "locationServiceData": {
            "serviceOwner": "00025394-6065-48ca-87d9-7f5672854ef7", "defaultAccessMappingMoniker": "HostGuidAccessMapping",
            "lastChangeId": 1, "lastChangeId64": 1, "clientCacheFresh": false, "clientCacheTimeToLive": 3600,
            "accessMappings": [mapping], "serviceDefinitions": [],
        },
    }))
}
