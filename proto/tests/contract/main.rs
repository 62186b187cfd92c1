//! The contract takes nothing back: what a released daemon sends or expects stays as it is, on the
//! wire and in JSON. The last accepted contract lies beside the sources as `fleet.v1.bin`, without
//! comments.

mod rules;

use std::{env, error::Error, fs, path::Path};

use fleet_proto::v1;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
    descriptor_proto::ReservedRange, field_descriptor_proto,
};
use rules::breaks;

const ACCEPT: &str = "to accept the additions: UPDATE_CONTRACT=1 cargo test -p fleet-proto";

#[test]
fn the_contract_takes_nothing_back() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet.v1.bin");
    let new = current();
    let accepted = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let old = FileDescriptorSet::decode(accepted.as_slice())?;
    let broken = breaks(&pool(&old), &pool(&new));
    // Even when asked to: a change that breaks running daemons belongs into fleet.v2.
    assert!(
        broken.is_empty(),
        "the contract fleet.v1 changed in ways that break what runs:\n  {}\n\
         keep the old and add the new beside it; a field that is gone must be reserved by number \
         and name",
        broken.join("\n  ")
    );
    if env::var_os("UPDATE_CONTRACT").is_some() {
        fs::write(&path, new.encode_to_vec())?;
    } else {
        assert!(old == new, "the contract fleet.v1 grew; {ACCEPT}");
    }
    Ok(())
}

/// The compiled contract without comments and positions.
fn current() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).expect("compiled here");
    set.file.iter_mut().for_each(|file| file.source_code_info = None);
    set
}

fn pool(set: &FileDescriptorSet) -> DescriptorPool {
    DescriptorPool::decode(set.encode_to_vec().as_slice()).expect("a set that is complete")
}

/// What is said when `change` is made to the contract.
fn said(change: impl FnOnce(&mut Editor)) -> Vec<String> {
    let mut editor = Editor(current());
    change(&mut editor);
    breaks(&pool(&current()), &pool(&editor.0))
}

/// Finds what is to be changed.
struct Editor(FileDescriptorSet);

impl Editor {
    fn files(&mut self) -> impl Iterator<Item = &mut FileDescriptorProto> {
        self.0.file.iter_mut().filter(|file| file.package() == "fleet.v1")
    }

    fn message(&mut self, name: &str) -> &mut DescriptorProto {
        let all = self.files().flat_map(|file| &mut file.message_type);
        all.into_iter().find(|m| m.name() == name).expect("a message of the contract")
    }

    fn field(&mut self, message: &str, name: &str) -> &mut FieldDescriptorProto {
        let fields = &mut self.message(message).field;
        fields.iter_mut().find(|f| f.name() == name).expect("a field of the message")
    }

    fn remove_field(&mut self, message: &str, name: &str) -> i32 {
        let number = self.field(message, name).number();
        self.message(message).field.retain(|f| f.name() != name);
        number
    }

    fn enumeration(&mut self, name: &str) -> &mut EnumDescriptorProto {
        let all = self.files().flat_map(|file| &mut file.enum_type);
        all.into_iter().find(|e| e.name() == name).expect("an enum of the contract")
    }

    fn service(&mut self, name: &str) -> &mut ServiceDescriptorProto {
        let all = self.files().flat_map(|file| &mut file.service);
        all.into_iter().find(|s| s.name() == name).expect("a service of the contract")
    }

    fn method(&mut self, service: &str, name: &str) -> &mut MethodDescriptorProto {
        let methods = &mut self.service(service).method;
        methods.iter_mut().find(|m| m.name() == name).expect("a method of the service")
    }
}

#[test]
fn every_incompatible_change_is_named() {
    let check = |expected: &str, change: fn(&mut Editor)| {
        let said = said(change);
        assert!(said.iter().any(|text| text == expected), "{said:?} should say {expected:?}");
    };
    check("fleet.v1.Order.term: field 1 was removed", |e| {
        e.remove_field("Order", "term");
    });
    check("fleet.v1.Order.term: field 1 got the number 9", |e| {
        e.field("Order", "term").number = Some(9);
    });
    check("fleet.v1.Order.term: field 1 is now called era", |e| {
        let field = e.field("Order", "term");
        (field.name, field.json_name) = (Some("era".into()), Some("era".into()));
    });
    check("fleet.v1.Order.term: uint64 became int64", |e| {
        e.field("Order", "term").set_type(field_descriptor_proto::Type::Int64);
    });
    check("fleet.v1.Pool.spec: fleet.v1.PoolSpec became fleet.v1.Order", |e| {
        e.field("Pool", "spec").type_name = Some(".fleet.v1.Order".into());
    });
    check("fleet.v1.Order.term: one became a list", |e| {
        e.field("Order", "term").set_label(field_descriptor_proto::Label::Repeated);
    });
    check("fleet.v1.Host.capacity: optional became one", |e| {
        let field = e.field("Host", "capacity");
        (field.proto3_optional, field.oneof_index) = (None, None);
        e.message("Host").oneof_decl.clear();
    });
    check("fleet.v1.SessionRequest.hello: it left its oneof message", |e| {
        e.field("SessionRequest", "hello").oneof_index = None;
    });
    check("fleet.v1.Synced: the message was removed", |e| {
        e.remove_field("WatchResponse", "synced");
        e.files().for_each(|file| file.message_type.retain(|m| m.name() != "Synced"));
    });
    check("fleet.v1.Phase.PHASE_BUSY: value 6 was removed", |e| {
        e.enumeration("Phase").value.retain(|v| v.name() != "PHASE_BUSY");
    });
    check("fleet.v1.Phase.PHASE_IDLE: value 5 is now called PHASE_READY", |e| {
        let values = &mut e.enumeration("Phase").value;
        let idle = values.iter_mut().find(|v| v.number() == 5).expect("Idle");
        idle.name = Some("PHASE_READY".into());
    });
    check("fleet.v1.HostService.Renew: the rpc was removed", |e| {
        e.service("HostService").method.retain(|m| m.name() != "Renew");
    });
    check(
        "fleet.v1.HostService.Renew: it takes fleet.v1.JoinRequest instead of fleet.v1.RenewRequest",
        |e| {
            e.method("HostService", "Renew").input_type = Some(".fleet.v1.JoinRequest".into());
        },
    );
    check("fleet.v1.FleetService.Watch: it does not answer with a stream any more", |e| {
        e.method("FleetService", "Watch").server_streaming = None;
    });
    check("fleet.v1.EnrollService: the service was removed", |e| {
        e.files().for_each(|file| file.service.retain(|s| s.name() != "EnrollService"));
    });
}

#[test]
fn additions_and_reserved_removals_break_nothing() {
    let nothing = Vec::<String>::new();
    assert_eq!(said(|_| {}), nothing);
    let grown = said(|e| {
        let mut field = e.field("Order", "term").clone();
        (field.name, field.json_name) = (Some("leader".into()), Some("leader".into()));
        field.number = Some(9);
        e.message("Order").field.push(field);
        e.enumeration("Phase").value.push(EnumValueDescriptorProto {
            name: Some("PHASE_ASLEEP".into()),
            number: Some(99),
            options: None,
        });
        let mut method = e.method("HostService", "Renew").clone();
        method.name = Some("RenewAgain".into());
        e.service("HostService").method.push(method);
    });
    assert_eq!(grown, nothing);
    let reserve = |e: &mut Editor| {
        let number = e.remove_field("Order", "term");
        let message = e.message("Order");
        message.reserved_name.push("term".into());
        message.reserved_range.push(ReservedRange { start: Some(number), end: Some(number + 1) });
    };
    assert_eq!(said(reserve), nothing);
    let number_only = said(|e| {
        reserve(e);
        e.message("Order").reserved_name.clear();
    });
    assert_eq!(number_only, ["fleet.v1.Order.term: field 1 was removed"], "its name may come back");
}
