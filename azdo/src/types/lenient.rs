//! Readers for the service's habits: times without a zone, null in place of an empty map.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// A time with 0 to 9 fraction digits. What cannot be read (the service sends
/// `0001-01-01T00:00:00`, without a zone, for "never") is absent, not an error of the whole list.
pub(crate) fn time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.and_then(|text| text.parse().ok()))
}

/// A name-value map; null and null values are read as empty.
pub(crate) fn map<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read: Option<BTreeMap<String, Option<String>>> = Option::deserialize(d)?;
    let pairs = read.unwrap_or_default().into_iter();
    Ok(pairs.map(|(k, v)| (k, v.unwrap_or_default())).collect())
}

/// A list; null is read as empty.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(d)?.unwrap_or_default())
}

/// Removes a UTF-8 byte order mark: .NET writes one in front of every file it saves as text.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}
