//! What may not change. The same rules as `buf breaking` has under WIRE_JSON, and one more: a
//! field with presence keeps it, because "absent" and "0" mean different things here.

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};

/// Every way in which `new` breaks who speaks `old`.
pub(crate) fn breaks(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut said = Vec::new();
    for was in old.all_messages().filter(|m| !m.is_map_entry() && is_ours(m.package_name())) {
        match new.get_message_by_name(was.full_name()) {
            Some(is) => message(&was, &is, &mut said),
            None => said.push(format!("{}: the message was removed", was.full_name())),
        }
    }
    for was in old.all_enums().filter(|e| is_ours(e.package_name())) {
        match new.get_enum_by_name(was.full_name()) {
            Some(is) => enumeration(&was, &is, &mut said),
            None => said.push(format!("{}: the enum was removed", was.full_name())),
        }
    }
    for was in old.services() {
        match new.get_service_by_name(was.full_name()) {
            Some(is) => service(&was, &is, &mut said),
            None => said.push(format!("{}: the service was removed", was.full_name())),
        }
    }
    said
}

/// The well-known types are Google's to keep.
fn is_ours(package: &str) -> bool {
    package == "fleet.v1"
}

fn message(was: &MessageDescriptor, is: &MessageDescriptor, said: &mut Vec<String>) {
    for old in was.fields() {
        let (name, number) = (old.full_name(), old.number());
        if let Some(new) = is.get_field(number) {
            said.extend(field(&old, &new).map(|what| format!("{name}: {what}")));
        } else if let Some(moved) = is.get_field_by_name(old.name()) {
            said.push(format!("{name}: field {number} got the number {}", moved.number()));
        } else if !is_reserved(is, &old) {
            said.push(format!("{name}: field {number} was removed"));
        }
    }
    let kept = |number| is.reserved_ranges().any(|range| range.contains(&number));
    for number in was.reserved_ranges().flatten().filter(|number| !kept(*number)) {
        said.push(format!("{}: number {number} is no longer reserved", was.full_name()));
    }
    for name in was.reserved_names().filter(|name| !is.reserved_names().any(|n| n == *name)) {
        said.push(format!("{}: name {name} is no longer reserved", was.full_name()));
    }
}

/// Neither number nor name may come back with another meaning.
fn is_reserved(message: &MessageDescriptor, field: &FieldDescriptor) -> bool {
    message.reserved_ranges().any(|range| range.contains(&field.number()))
        && message.reserved_names().any(|name| name == field.name())
}

fn field(was: &FieldDescriptor, is: &FieldDescriptor) -> impl Iterator<Item = String> {
    let name = (was.name() != is.name() || was.json_name() != is.json_name())
        .then(|| format!("field {} is now called {}", was.number(), is.name()));
    let (old, new) = (kind(was), kind(is));
    let kind = (old != new).then(|| format!("{old} became {new}"));
    let (old, new) = (count(was), count(is));
    let count = (old != new).then(|| format!("{old} became {new}"));
    [name, kind, count, oneof(was, is)].into_iter().flatten()
}

/// Of a map, the kinds of both its parts: its entry type is no type of the contract.
fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => format!(
            "map<{}, {}>",
            kind(&entry.map_entry_key_field()),
            kind(&entry.map_entry_value_field())
        ),
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(enumeration) => enumeration.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn count(field: &FieldDescriptor) -> &'static str {
    // In a oneof, and of a message, presence cannot be given up; a oneof is compared by itself.
    let in_oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
    let always_present = in_oneof || matches!(field.kind(), Kind::Message(_));
    if field.is_map() {
        "a map"
    } else if field.is_list() {
        "a list"
    } else if field.supports_presence() && !always_present {
        "optional"
    } else {
        "one"
    }
}

fn oneof(was: &FieldDescriptor, is: &FieldDescriptor) -> Option<String> {
    let name = |field: &FieldDescriptor| {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        oneof.map(|oneof| oneof.name().to_owned())
    };
    match (name(was), name(is)) {
        (old, new) if old == new => None,
        (Some(old), None) => Some(format!("it left its oneof {old}")),
        (_, Some(new)) => Some(format!("it moved into the oneof {new}")),
        (None, None) => None,
    }
}

fn enumeration(was: &EnumDescriptor, is: &EnumDescriptor, said: &mut Vec<String>) {
    for old in was.values() {
        // An enum's value is named beside the enum, not within it; people look for it within.
        let (name, number) = (format!("{}.{}", was.full_name(), old.name()), old.number());
        match is.get_value(number) {
            Some(new) if new.name() == old.name() => {}
            Some(new) => said.push(format!("{name}: value {number} is now called {}", new.name())),
            None => {
                let numbers = is.reserved_ranges().any(|range| range.contains(&number));
                if !(numbers && is.reserved_names().any(|n| n == old.name())) {
                    said.push(format!("{name}: value {number} was removed"));
                }
            }
        }
    }
}

fn service(was: &ServiceDescriptor, is: &ServiceDescriptor, said: &mut Vec<String>) {
    for old in was.methods() {
        match is.methods().find(|new| new.name() == old.name()) {
            Some(new) => {
                said.extend(method(&old, &new).map(|what| format!("{}: {what}", old.full_name())))
            }
            None => said.push(format!("{}: the rpc was removed", old.full_name())),
        }
    }
}

fn method(was: &MethodDescriptor, is: &MethodDescriptor) -> impl Iterator<Item = String> {
    let changed = |verb, old: MessageDescriptor, new: MessageDescriptor| {
        (old.full_name() != new.full_name())
            .then(|| format!("it {verb} {} instead of {}", new.full_name(), old.full_name()))
    };
    let stream = |verb, old: bool, new: bool| match (old, new) {
        (true, false) => Some(format!("it does not {verb} a stream any more")),
        (false, true) => Some(format!("it now wants to {verb} a stream")),
        _ => None,
    };
    [
        changed("takes", was.input(), is.input()),
        changed("gives", was.output(), is.output()),
        stream("take", was.is_client_streaming(), is.is_client_streaming()),
        stream("answer with", was.is_server_streaming(), is.is_server_streaming()),
    ]
    .into_iter()
    .flatten()
}
