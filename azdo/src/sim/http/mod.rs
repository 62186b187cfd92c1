//! The HTTP face: route, count, strike with faults, authenticate, act in one step, answer.

mod agents;
mod answer;
mod control;
mod cord;
mod gate;
mod listener;
mod locations;
mod messages;
mod pools;
mod queue;
mod route;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::response::Response;
use http::request::Parts;
use http::{Method, header};
use jiff::Timestamp;
use tokio::net::TcpListener;

use answer::Answer;
use cord::{Cord, Corded};
use route::{Place, Route};

use super::faults::{Drop as Break, Fault};
use super::shell::{Core, Shell};
use super::wire::Wire;
use super::{Caller, Refusal, World};

/// Registrations with capabilities are some 20 KiB; nobody sends more than this.
const BODY_LIMIT: usize = 8 << 20;

/// Serves until the shell is stopped.
pub(super) async fn serve(listener: TcpListener, shell: Arc<Shell>) {
    let stop = shell.stop.clone();
    let app = Router::new().fallback(handle).with_state(shell);
    let service = app.into_make_service_with_connect_info::<Cord>();
    let served = axum::serve(Corded(listener), service)
        .with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(
            error = &error as &(dyn std::error::Error + 'static),
            "simulator stopped serving"
        );
    }
}

/// One request, taken apart.
struct Ask {
    method: Method,
    route: Route,
    /// Names in lower case.
    query: BTreeMap<String, String>,
    body: Bytes,
    /// `http://HOST:PORT/ORG`, by the name the caller used.
    base: String,
    caller: Option<Caller>,
    /// What a struck read sees.
    past: Option<Arc<World>>,
}

impl Ask {
    fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1")
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let read = |v: &str| {
            v.trim().parse().map_err(|_| Refusal::bad_request(format!("{name}={v} is no number")))
        };
        self.text(name).map(read).transpose()
    }

    fn numbers(&self, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let read = |v: &str| {
            v.trim()
                .parse()
                .map_err(|_| Refusal::bad_request(format!("{name}: {v:?} is no number")))
        };
        self.text(name).map(|list| list.split(',').map(read).collect()).transpose()
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Refusal::bad_request(format!("The body cannot be read: {e}")))
    }

    /// The eyes of a read: on now, or on the past when struck.
    fn wire<'a>(&'a self, core: &'a Core) -> Wire<'a> {
        Wire { base: &self.base, world: self.past.as_deref().unwrap_or(&core.state.world) }
    }
}

async fn handle(
    Extract(shell): Extract<Arc<Shell>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let version = gate::Version::of(&parts);
    let answer = match Place::parse(parts.uri.path(), &shell.org) {
        None => Answer::from(Refusal::no_resource(parts.uri.path())),
        Some(place) => match axum::body::to_bytes(body, BODY_LIMIT).await {
            Ok(body) => serve_place(&shell, &cord, &parts, place, body).await,
            Err(error) => {
                Answer::from(Refusal::bad_request(format!("The body cannot be read: {error}")))
            }
        },
    };
    answer.into_response(&parts, &version)
}

async fn serve_place(
    shell: &Arc<Shell>,
    cord: &Cord,
    parts: &Parts,
    place: Place,
    body: Bytes,
) -> Answer {
    let method = parts.method.clone();
    let route = if method == Method::OPTIONS { place.locations() } else { place.route() };
    let Some(route) = route else { return Refusal::no_resource(parts.uri.path()).into() };
    let mut ask = Ask {
        query: query(parts),
        base: base(parts, &shell.org),
        method,
        route,
        body,
        caller: None,
        past: None,
    };
    if let Route::Control(verb) = &ask.route {
        let verb = verb.clone();
        return control::answer(shell, &verb, &ask, parts).unwrap_or_else(Answer::from);
    }
    let fault = shell.step(|core, _| {
        core.state.journal.count_request(format!("{} {}", ask.method, ask.route.name()));
        core.faults.pick(ask.method.as_str(), &place.path, &mut core.dice)
    });
    let Some(fault) = fault else { return proper(shell, parts, &mut ask).await };
    struck(shell, cord, parts, &mut ask, fault).await
}

/// The way of a request that a fault has hit.
async fn struck(
    shell: &Arc<Shell>,
    cord: &Cord,
    parts: &Parts,
    ask: &mut Ask,
    fault: Fault,
) -> Answer {
    pause(shell, fault.latency_ms).await;
    if fault.drop == Some(Break::Before) {
        cord.cut();
        return Answer::empty(503);
    }
    if let Some(answer) = gate::instead(&fault, parts) {
        return answer.held(&fault);
    }
    if let Some(secs) = fault.stale_s.filter(|_| ask.method == Method::GET) {
        ask.past = shell.step(|core, now| core.stale_world(secs, now));
    }
    if fault.double {
        // The first answer is the one that got lost on its way.
        proper(shell, parts, ask).await;
    }
    let answer = proper(shell, parts, ask).await;
    pause(shell, fault.late_ms).await;
    if fault.drop == Some(Break::After) {
        cord.cut();
    }
    answer.held(&fault).slow(fault.slow_body_ms)
}

async fn proper(shell: &Arc<Shell>, parts: &Parts, ask: &mut Ask) -> Answer {
    match gate::enter(shell, parts, ask) {
        Err(refused) => return refused,
        Ok(caller) => ask.caller = caller,
    }
    if let (&Method::GET, Route::Messages(pool)) = (&ask.method, &ask.route) {
        return messages::poll(shell, *pool, ask).await.unwrap_or_else(Answer::from);
    }
    shell.step(|core, now| act(shell, core, ask, now)).unwrap_or_else(Answer::from)
}

/// Every resource and the verbs it knows.
fn act(shell: &Shell, core: &mut Core, ask: &Ask, now: Timestamp) -> Result<Answer, Refusal> {
    match &ask.route {
        Route::Locations(area) => Ok(locations::locations(area.as_deref())),
        Route::ResourceAreas(id) => locations::areas(&ask.base, id.as_deref()),
        Route::ConnectionData => Ok(locations::connection_data(ask)),
        Route::Token => Ok(listener::token(core, ask, now)),
        Route::Pools | Route::Pool(_) | Route::Permissions(..) => pools::answer(core, ask, now),
        Route::Queues { project, id } => pools::queues(core, ask, project.as_deref(), *id),
        Route::Agents(pool) => agents::list(core, ask, *pool, now),
        Route::Agent(pool, agent) => agents::one(core, ask, *pool, *agent, now),
        Route::UserCapabilities(pool, agent) => agents::capabilities(core, ask, *pool, *agent),
        Route::Updates(pool, agent) => listener::update(core, ask, *pool, *agent, now),
        Route::JobRequests(pool) => queue::list(core, ask, *pool),
        Route::JobRequest(pool, id) => queue::one(core, ask, *pool, *id, now),
        Route::Sessions(pool) => listener::create(core, ask, *pool, now),
        Route::Session(_, id) => listener::delete(core, ask, *id, now),
        Route::Messages(pool) => messages::refresh(shell, core, ask, *pool, now),
        Route::Message(_, id) => messages::delete(core, ask, *id),
        Route::Packages { platform, version } => {
            Ok(pools::packages(shell, ask, platform.as_deref(), version.as_deref()))
        }
        Route::ResourceUsage => Ok(queue::usage(core, ask)),
        Route::ResourceLimits => Ok(queue::limits(core)),
        Route::Control(_) => Err(Refusal::no_resource("_sim")),
    }
}

async fn pause(shell: &Shell, ms: Option<u64>) {
    if let Some(ms) = ms {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            () = shell.stop.cancelled() => {}
        }
    }
}

fn query(parts: &Parts) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> =
        axum::extract::Query::try_from_uri(&parts.uri).map(|q| q.0).unwrap_or_default();
    pairs.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect()
}

fn base(parts: &Parts, org: &str) -> String {
    let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|a| a.as_str())).unwrap_or("localhost");
    format!("http://{host}/{org}")
}

/// Bodies of answers that come in pieces.
fn slowly(content: Bytes, over: Duration) -> Body {
    const PIECES: usize = 10;
    let size = content.len().div_ceil(PIECES).max(1);
    let pieces =
        futures_util::stream::unfold((content, over / 10), move |(mut rest, gap)| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(gap).await;
            let piece = rest.split_to(size.min(rest.len()));
            Some((Ok::<_, std::convert::Infallible>(piece), (rest, gap)))
        });
    Body::from_stream(pieces)
}
