//! The few ways in which a field is read. Each names the field when it refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
};

use super::WireError;

/// A message that must be there.
pub(super) fn message<W, M>(field: &str, wire: Option<W>) -> Result<M, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    optional(field, wire)?.ok_or_else(|| WireError::new(field, "is missing"))
}

/// A message that may be absent.
pub(super) fn optional<W, M>(field: &str, wire: Option<W>) -> Result<Option<M>, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    wire.map(M::try_from).transpose().map_err(|error| error.within(field))
}

/// Every element of a repeated message.
pub(super) fn list<W, M>(field: &str, wire: Vec<W>) -> Result<Vec<M>, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    let read = |(n, one)| M::try_from(one).map_err(|e: WireError| e.within(&element(field, n)));
    wire.into_iter().enumerate().map(read).collect()
}

/// A repeated message whose elements carry their own key, which may occur once.
pub(super) fn keyed<W, K, M>(field: &str, wire: Vec<W>) -> Result<BTreeMap<K, M>, WireError>
where
    K: Ord + Display,
    (K, M): TryFrom<W, Error = WireError>,
{
    let mut map = BTreeMap::new();
    for (n, (key, value)) in list::<W, (K, M)>(field, wire)?.into_iter().enumerate() {
        if map.contains_key(&key) {
            return Err(WireError::new(element(field, n), format!("{key} is named twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// A text with rules: a name, a selector.
pub(super) fn parsed<T>(field: &str, text: &str) -> Result<T, WireError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error| WireError::new(field, error))
}

/// The same where the empty text stands for none.
pub(super) fn parsed_or_none<T>(field: &str, text: &str) -> Result<Option<T>, WireError>
where
    T: FromStr<Err: Display>,
{
    if text.is_empty() { Ok(None) } else { parsed(field, text).map(Some) }
}

/// Every element of a repeated name.
pub(super) fn parsed_list<T>(field: &str, texts: &[String]) -> Result<Vec<T>, WireError>
where
    T: FromStr<Err: Display>,
{
    texts.iter().enumerate().map(|(n, text)| parsed(&element(field, n), text)).collect()
}

/// A repeated name in which order and repetition say nothing.
pub(super) fn named<T>(field: &str, texts: &[String]) -> Result<BTreeSet<T>, WireError>
where
    T: FromStr<Err: Display> + Ord,
{
    parsed_list(field, texts).map(BTreeSet::from_iter)
}

/// A word of a closed set. `W` is the generated enum, `M` the model's.
pub(super) fn word<W, M>(field: &str, number: i32) -> Result<M, WireError>
where
    W: TryFrom<i32>,
    M: TryFrom<W, Error = WireError>,
{
    // An unknown number comes from a newer sender; guessing its meaning could remove an agent.
    let wire = W::try_from(number)
        .map_err(|_| WireError::new(field, format!("{number} is not a value known here")))?;
    M::try_from(wire).map_err(|error| WireError::new(field, error.why))
}

/// A number that is narrower in the model than on the wire.
pub(super) fn narrow<W, M>(field: &str, number: W) -> Result<M, WireError>
where
    W: Copy + Display,
    M: TryFrom<W>,
{
    M::try_from(number).map_err(|_| WireError::new(field, format!("{number} is too large")))
}

pub(super) fn element(field: &str, n: usize) -> String {
    format!("{field}[{n}]")
}
