//! What operators ask: each request goes to the file that knows its story.

use fleet_proto::{convert::timestamp, v1};

use super::{
    denied::Denied,
    event::Request,
    state::State,
    summary::{self, Summary},
    turn::Turn,
};

impl State {
    pub(crate) fn take_request(&mut self, request: Request, turn: &mut Turn) {
        match request {
            Request::CreatePool { pool, by, reply } => {
                let done = self.create_pool(*pool, &by, turn);
                turn.settle(reply, done);
            }
            Request::DeletePool { pool, insist, by, reply } => {
                let done = self.delete_pool(&pool, &insist, &by, turn);
                turn.settle(reply, done);
            }
            Request::Scale { pool, replicas, insist, by, reply } => {
                let done = self.scale(&pool, replicas, &insist, &by, turn);
                turn.settle(reply, done);
            }
            Request::AddGroup { pool, group, by, reply } => {
                let done = self.add_group(&pool, *group, &by, turn);
                turn.settle(reply, done);
            }
            Request::RemoveGroup { pool, group, by, reply } => {
                let done = self.remove_group(&pool, &group, &by, turn);
                turn.settle(reply, done);
            }
            Request::Invite { invitation, by, reply } => {
                let done = self.invite(*invitation, &by, turn);
                turn.settle(reply, done);
            }
            Request::RemoveHost { host, force, by, reply } => {
                let done = self.remove_host(&host, force, &by, turn);
                turn.settle(reply, done);
            }
            Request::SetCredential { credential, by, reply } => {
                let done = self.set_credential(credential, &by, turn);
                turn.settle(reply, done);
            }
            Request::Tidy { pool, dry_run, by, reply } => {
                self.tidy(pool.as_deref(), dry_run, by, reply, turn);
            }
            Request::Restrain { ask, by, reply } => {
                let done = self.restrain(*ask, &by, turn);
                turn.settle(reply, done);
            }
            Request::OrderAgent { order, reply } => self.order_agent(order, reply),
            Request::Explain { about, reply } => {
                let found = self.find(&about);
                turn.settle(
                    reply,
                    found.map(|found| move |state: &mut State| state.explain(&found)),
                );
            }
            // Looks come after the changes of the same turn, so that one sees what one did.
            Request::Status { reply } => {
                let now = turn.now;
                turn.reply(reply, move |state| state.status(now));
            }
            Request::Pools { pool, reply } => {
                let looked = pool.map(|name| self.known_pool(&name)).transpose();
                turn.settle(
                    reply,
                    looked.map(|name| {
                        move |state: &mut State| match name {
                            Some(name) => state.views().pool(&name).into_iter().collect(),
                            None => state.views().pools(),
                        }
                    }),
                );
            }
            Request::Hosts { host, reply } => {
                let looked = host.map(|name| self.known_host(&name)).transpose();
                turn.settle(
                    reply,
                    looked.map(|name| {
                        move |state: &mut State| match name {
                            Some(name) => state.views().host(&name).into_iter().collect(),
                            None => state.views().hosts(),
                        }
                    }),
                );
            }
            Request::Agents { filter, reply } => {
                let known = self.known(filter.pool.as_deref(), filter.host.as_deref());
                let look = move |state: &mut State| state.views().agents(&filter);
                turn.settle(reply, known.map(|()| look));
            }
            Request::Watch { filter, kinds, reply } => {
                let known = self.known(filter.pool.as_deref(), filter.host.as_deref());
                let begin = move |state: &mut State| {
                    let views = super::views::Views { fleet: &state.fleet, book: &state.book };
                    state.watchers.begin(filter, kinds, &views)
                };
                turn.settle(reply, known.map(|()| begin));
            }
            Request::FindLog { agent, reply } => {
                let found = self.find_log(agent);
                turn.settle(reply, found.map(|place| |_: &mut State| place));
            }
            Request::OpenLog { place, open, reply } => {
                let asked = self.open_log(&place, *open);
                turn.settle(reply, asked.map(|()| |_: &mut State| ()));
            }
            Request::Summary { reply } => {
                let now = turn.now;
                turn.reply(reply, move |state| state.summary(now));
            }
        }
    }

    /// A misspelt name gets an answer, not an empty list.
    fn known(&self, pool: Option<&str>, host: Option<&str>) -> Result<(), Denied> {
        pool.map(|name| self.known_pool(name)).transpose()?;
        host.map(|name| self.known_host(name)).transpose()?;
        Ok(())
    }

    fn status(&self, now: fleet_model::At) -> v1::GetStatusResponse {
        let views = self.views();
        v1::GetStatusResponse {
            fleet: self.book.meta.fleet.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            order: Some(self.fleet.order().into()),
            read_only: self.writable().err().map(|why| why.to_string()).unwrap_or_default(),
            pools: views.pools(),
            hosts: views.hosts(),
            now: Some(timestamp(now)),
        }
    }

    fn summary(&self, now: fleet_model::At) -> Summary {
        Summary {
            pools: summary::pools(&self.fleet, now),
            hosts: summary::hosts(&self.fleet),
            sessions: self.sessions.count(),
            watchers: self.watchers.count(),
            order: self.fleet.order(),
            read_only: self.writable().is_err(),
            store_trouble: self.store_trouble.clone(),
        }
    }
}
