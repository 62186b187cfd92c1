//! `get … -w`: the list, then every change as it comes, through restarts of the coordinator.

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::get::Show;
use crate::{
    connect::Session,
    error::Failure,
    feed::{Feed, FirstContact, Step},
    live::{Change, Key, Live},
    output::{self, Format, Listed, Object, Table},
    view::{Agent, Host, Pool},
};

/// Things of one kind that can be watched.
pub(crate) trait Watched: Listed {
    /// The thing that `key` names, when it is of this kind and still there.
    fn find(live: &Live, key: &Key) -> Option<Self>;
    /// All of them, by name.
    fn all(live: &Live) -> Vec<Self>;
}

/// Shows what `request` asks for until somebody stops it. `name` and `keep` narrow it.
///
/// # Errors
/// When the coordinator refuses, or cannot be reached at the start.
pub(crate) async fn run<T: Watched>(
    session: &Session,
    request: v1::WatchRequest,
    show: &Show,
    name: Option<&str>,
    keep: impl Fn(&T) -> bool,
) -> Result<(), Failure> {
    let mut feed = Feed::new(session, request, FirstContact::MustSucceed);
    let mut printer = Printer::<T>::new(show);
    let wanted = |item: &T| keep(item) && name.is_none_or(|name| name == item.name());
    let mut begun = false;
    loop {
        let change = match feed.next().await? {
            Step::Change(change) => change,
            Step::Lost(why) => {
                output::say(&format!("lost the coordinator ({why}); trying again"));
                continue;
            }
            Step::NotThere(failure) => return Err(failure),
        };
        match change {
            Change::Synced if begun => output::say("the coordinator is back"),
            Change::Synced => {
                begun = true;
                let items: Vec<T> = T::all(&feed.live).into_iter().filter(&wanted).collect();
                printer.begin(&items)?;
            }
            // The first state is shown as a whole, sorted.
            _ if !begun => {}
            Change::Set(key) => match T::find(&feed.live, &key) {
                Some(item) if wanted(&item) => printer.changed(&item)?,
                _ => {}
            },
            Change::Gone(key) => printer.removed(&key)?,
        }
    }
}

/// Prints the list and its changes in one format.
struct Printer<T: Listed> {
    format: Format,
    headers: bool,
    table: Table<T>,
    /// Names that were shown: what was never shown is not removed either.
    shown: std::collections::BTreeSet<String>,
}

impl<T: Listed> Printer<T> {
    fn new(show: &Show) -> Self {
        Self {
            format: show.output,
            headers: !show.no_headers,
            table: Table::new(T::COLUMNS, show.output == Format::Wide),
            shown: std::collections::BTreeSet::new(),
        }
    }

    fn begin(&mut self, items: &[T]) -> Result<(), Failure> {
        self.shown.extend(items.iter().map(|item| item.name().to_owned()));
        match self.format {
            Format::Table | Format::Wide => {
                output::print(&self.table.render(items, self.headers, Timestamp::now()))
            }
            _ => items.iter().try_for_each(|item| self.line("present", item)),
        }
    }

    fn changed(&mut self, item: &T) -> Result<(), Failure> {
        let new = self.shown.insert(item.name().to_owned());
        match self.format {
            Format::Table | Format::Wide => {
                let row = std::slice::from_ref(item);
                output::print(&self.table.render(row, false, Timestamp::now()))
            }
            _ => self.line(if new { "added" } else { "changed" }, item),
        }
    }

    fn removed(&mut self, key: &Key) -> Result<(), Failure> {
        let name = key.name();
        if !self.shown.remove(name) {
            return Ok(());
        }
        match self.format {
            Format::Table | Format::Wide => output::print(&format!("{name}  (gone)\n")),
            Format::Name => Ok(()),
            _ => self.print("removed", &Name { name }),
        }
    }

    fn line(&self, change: &str, item: &T) -> Result<(), Failure> {
        match self.format {
            Format::Name => output::print(&format!("{}\n", item.name())),
            _ => self.print(change, item),
        }
    }

    fn print(&self, change: &str, value: &impl Serialize) -> Result<(), Failure> {
        let object = Object { change: Some(change), field: T::ONE, value };
        match self.format {
            // Documents of one stream, each with its beginning marked.
            Format::Yaml => output::print(&format!("---\n{}", output::yaml(&object)?)),
            _ => output::print(&output::json_line(&object)?),
        }
    }
}

/// All that is left of what is gone.
#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

impl Watched for Agent {
    fn find(live: &Live, key: &Key) -> Option<Self> {
        match key {
            Key::Agent(name) => live.agents.get(name).cloned().map(Self::from),
            _ => None,
        }
    }
    fn all(live: &Live) -> Vec<Self> {
        live.agents.values().cloned().map(Self::from).collect()
    }
}

impl Watched for Host {
    fn find(live: &Live, key: &Key) -> Option<Self> {
        match key {
            Key::Host(name) => live.hosts.get(name).cloned().map(Self::from),
            _ => None,
        }
    }
    fn all(live: &Live) -> Vec<Self> {
        live.hosts.values().cloned().map(Self::from).collect()
    }
}

impl Watched for Pool {
    fn find(live: &Live, key: &Key) -> Option<Self> {
        match key {
            Key::Pool(name) => live.pools.get(name).cloned().map(Self::from),
            _ => None,
        }
    }
    fn all(live: &Live) -> Vec<Self> {
        live.pools.values().cloned().map(Self::from).collect()
    }
}
