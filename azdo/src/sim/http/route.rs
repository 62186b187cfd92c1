//! From a path to a resource. Case does not count, as on the real service; a project may stand
//! between the organisation and `_apis`.

use uuid::Uuid;

/// A resource the simulator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Locations(Option<String>),
    ResourceAreas(Option<String>),
    ConnectionData,
    Token,
    Pools,
    Pool(i64),
    Permissions(i64, i64),
    Agents(i64),
    Agent(i64, i64),
    UserCapabilities(i64, i64),
    Updates(i64, i64),
    JobRequests(i64),
    JobRequest(i64, i64),
    Sessions(i64),
    Session(i64, Uuid),
    Messages(i64),
    Message(i64, i64),
    Packages {
        platform: Option<String>,
        version: Option<String>,
    },
    Queues {
        project: Option<String>,
        id: Option<i64>,
    },
    ResourceUsage,
    ResourceLimits,
    /// The control API; its words as they came.
    Control(Vec<String>),
}

/// A path, split at the organisation.
#[derive(Debug)]
pub(super) struct Place {
    project: Option<String>,
    words: Vec<String>,
    /// Path after the organisation: what faults are matched with.
    pub(super) path: String,
}

impl Place {
    /// `None`: another organisation, or nothing of ours.
    pub(super) fn parse(path: &str, org: &str) -> Option<Self> {
        let mut words: Vec<String> =
            path.split('/').filter(|w| !w.is_empty()).map(decode).collect();
        let start = words
            .iter()
            .position(|w| w.eq_ignore_ascii_case("_apis") || w.eq_ignore_ascii_case("_sim"))?;
        let rest = words.split_off(start);
        if words.first().is_some_and(|o| !o.eq_ignore_ascii_case(org)) || words.len() > 2 {
            return None;
        }
        let path = format!("/{}", rest.join("/"));
        Some(Self { project: words.into_iter().nth(1), words: rest, path })
    }

    /// The resource locations of an area, or of all.
    pub(super) fn locations(&self) -> Option<Route> {
        let area = self.words.get(1).map(|a| a.to_ascii_lowercase());
        self.words
            .first()
            .is_some_and(|w| w.eq_ignore_ascii_case("_apis"))
            .then_some(Route::Locations(area))
    }

    pub(super) fn route(&self) -> Option<Route> {
        let lower: Vec<String> = self.words.iter().map(|w| w.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["_sim", ..] => Some(Route::Control(self.words.get(1..)?.to_vec())),
            ["_apis", "resourceareas"] => Some(Route::ResourceAreas(None)),
            ["_apis", "resourceareas", id] => Some(Route::ResourceAreas(Some((*id).to_owned()))),
            ["_apis", "connectiondata"] => Some(Route::ConnectionData),
            ["_apis", "oauth2", "token"] => Some(Route::Token),
            ["_apis", "distributedtask", rest @ ..] => self.task(rest),
            _ => None,
        }
    }

    fn task(&self, words: &[&str]) -> Option<Route> {
        let own = |word: &str| Some(word.to_owned());
        Some(match words {
            ["pools"] => Route::Pools,
            ["pools", pool, rest @ ..] => return in_pool(pool.parse().ok()?, rest),
            ["queues"] => Route::Queues { project: self.project.clone(), id: None },
            ["queues", id] => {
                Route::Queues { project: self.project.clone(), id: Some(id.parse().ok()?) }
            }
            ["packages", "agent"] => Route::Packages { platform: None, version: None },
            ["packages", "agent", platform] => {
                Route::Packages { platform: own(platform), version: None }
            }
            ["packages", "agent", platform, version] => {
                Route::Packages { platform: own(platform), version: own(version) }
            }
            ["resourceusage"] => Route::ResourceUsage,
            ["resourcelimits"] => Route::ResourceLimits,
            _ => return None,
        })
    }
}

fn in_pool(pool: i64, words: &[&str]) -> Option<Route> {
    let id = |word: &str| word.parse::<i64>().ok();
    Some(match words {
        [] => Route::Pool(pool),
        ["permissions", bits] => Route::Permissions(pool, id(bits)?),
        ["agents"] => Route::Agents(pool),
        ["agents", agent] => Route::Agent(pool, id(agent)?),
        ["agents", agent, "usercapabilities"] => Route::UserCapabilities(pool, id(agent)?),
        ["agents", agent, "updates"] => Route::Updates(pool, id(agent)?),
        ["jobrequests"] => Route::JobRequests(pool),
        ["jobrequests", request] => Route::JobRequest(pool, id(request)?),
        ["sessions"] => Route::Sessions(pool),
        ["sessions", session] => Route::Session(pool, session.parse().ok()?),
        ["messages"] => Route::Messages(pool),
        ["messages", message] => Route::Message(pool, id(message)?),
        _ => return None,
    })
}

impl Route {
    /// Counted under this name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Locations(_) => "locations",
            Self::ResourceAreas(_) => "resourceAreas",
            Self::ConnectionData => "connectionData",
            Self::Token => "token",
            Self::Pools => "pools",
            Self::Pool(_) => "pool",
            Self::Permissions(..) => "permissions",
            Self::Agents(_) => "agents",
            Self::Agent(..) => "agent",
            Self::UserCapabilities(..) => "usercapabilities",
            Self::Updates(..) => "updates",
            Self::JobRequests(_) => "jobrequests",
            Self::JobRequest(..) => "jobrequest",
            Self::Sessions(_) | Self::Session(..) => "sessions",
            Self::Messages(_) | Self::Message(..) => "messages",
            Self::Packages { .. } => "packages",
            Self::Queues { .. } => "queues",
            Self::ResourceUsage => "resourceusage",
            Self::ResourceLimits => "resourcelimits",
            Self::Control(_) => "control",
        }
    }
}

fn decode(word: &str) -> String {
    crate::percent_decode(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str) -> Option<Route> {
        Place::parse(path, "Fabrikam")?.route()
    }

    #[test]
    fn case_does_not_count() {
        assert_eq!(check("/fabrikam/_apis/DistributedTask/Pools/4/Agents"), Some(Route::Agents(4)));
        assert_eq!(check("/FABRIKAM/_apis/resourceAreas/"), Some(Route::ResourceAreas(None)));
    }

    #[test]
    fn a_project_may_stand_in_between() {
        let queue = Route::Queues { project: Some("my project".into()), id: Some(3) };
        assert_eq!(check("/fabrikam/my%20project/_apis/distributedtask/queues/3"), Some(queue));
    }

    #[test]
    fn other_organisations_and_odd_ids_are_nothing() {
        for path in [
            "/contoso/_apis/distributedtask/pools",
            "/a/b/c/_apis/x",
            "/fabrikam/_apis/distributedtask/pools/x",
            "/",
        ] {
            assert_eq!(check(path), None, "{path}");
        }
    }

    #[test]
    fn the_control_api_needs_no_organisation() {
        assert_eq!(check("/_sim/Jobs"), Some(Route::Control(vec!["Jobs".into()])));
    }
}
