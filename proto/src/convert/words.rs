//! Words of closed sets. The two lists of each set stand in one place, so that the compiler finds
//! a word that was added to the model only.

use fleet_model::{
    AtDeadline, Availability, ConditionKind, Entry, HostState, Intent, Mode, Order, Phase,
    RestraintKind, RuntimeKind,
};

use super::WireError;
use crate::v1;

macro_rules! words {
    ($name:ident: $($word:ident)*) => {
        impl From<$name> for v1::$name {
            fn from(word: $name) -> Self {
                match word { $($name::$word => Self::$word,)* }
            }
        }
        impl TryFrom<v1::$name> for $name {
            type Error = WireError;
            fn try_from(word: v1::$name) -> Result<Self, WireError> {
                match word {
                    v1::$name::Unspecified => {
                        Err(WireError::new(stringify!($name), "is not specified"))
                    }
                    $(v1::$name::$word => Ok(Self::$word),)*
                }
            }
        }
    };
}

words!(RuntimeKind: Docker Systemd Process Fake);
words!(Mode: Once LongLived);
words!(Entry: Own Image);
words!(Phase: Unknown Pending Registering Starting Idle Busy Updating Draining Drained Stopped
    DisabledElsewhere Failed Quarantined Paused);
words!(Intent: Keep Drain Remove);
words!(HostState: Invited Ready Disconnected Down);
words!(Availability: Active Cordoned Paused Draining);
words!(RestraintKind: Cordon Pause Drain);
words!(AtDeadline: Wait GiveUp);
words!(ConditionKind: EngineDown ImageMissing AzureTrouble NoCredential StartsCapped PoolUnknown
    NoLiveRestore Unsupported LedgerTrouble DiskLow DiskFull);

impl From<Order> for v1::Order {
    fn from(order: Order) -> Self {
        Self { term: order.term, generation: order.generation }
    }
}

/// Every order of the wire is one: 0.0 is the order of a host that never took any.
impl From<v1::Order> for Order {
    fn from(wire: v1::Order) -> Self {
        Self::new(wire.term, wire.generation)
    }
}

/// An order that must be there: without it, older and newer could not be told apart.
pub(super) fn order(field: &str, wire: Option<v1::Order>) -> Result<Order, WireError> {
    wire.map(Order::from).ok_or_else(|| WireError::new(field, "is missing"))
}
