//! Model → bytes → model is the identity; whatever else comes in is refused by field, never a panic.

use std::fmt::Debug;

use fleet_model::*;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::{Hello, Row, WireError, samples};
use crate::v1;

/// Through the very bytes, so that a field with a wrong tag or type could not hide.
fn there_and_back<W, M>(model: M) -> Result<(), TestCaseError>
where
    M: Clone + PartialEq + Debug + TryFrom<W, Error = WireError>,
    W: From<M> + Message + Default,
{
    let bytes = W::from(model.clone()).encode_to_vec();
    let wire = W::decode(bytes.as_slice()).expect("what was encoded decodes");
    prop_assert_eq!(M::try_from(wire), Ok(model));
    Ok(())
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        spec in samples::pool_spec(),
        group in samples::group_spec(),
        template in samples::template(),
        assignment in samples::assignment(),
        report in samples::report(),
        hello in samples::hello(),
        row in samples::row(),
        order in samples::order(),
        agent_order in samples::agent_order(),
    ) {
        there_and_back::<v1::AgentOrder, _>(agent_order)?;
        there_and_back::<v1::PoolSpec, _>(spec)?;
        there_and_back::<v1::GroupSpec, _>(group)?;
        there_and_back::<v1::Template, _>(template)?;
        there_and_back::<v1::Assignment, _>(assignment)?;
        there_and_back::<v1::Report, _>(report)?;
        there_and_back::<v1::Hello, _>(hello)?;
        there_and_back::<v1::Row, _>(row)?;
        prop_assert_eq!(Order::from(v1::Order::from(order)), order);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    /// Valid messages with single bytes changed come much further than noise does.
    #[test]
    fn no_damaged_message_makes_the_reader_panic(
        assignment in samples::assignment(),
        report in samples::report(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for mut bytes in [
            v1::Assignment::from(assignment).encode_to_vec(),
            v1::Report::from(report).encode_to_vec(),
        ] {
            for (at, byte) in damage.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_everything(&bytes);
        }
    }
}

fn read_everything(bytes: &[u8]) {
    fn read<W: Message + Default, M: TryFrom<W, Error = WireError>>(bytes: &[u8]) {
        let _ = W::decode(bytes).map(M::try_from);
    }
    read::<v1::PoolSpec, PoolSpec>(bytes);
    read::<v1::Assignment, Assignment>(bytes);
    read::<v1::Report, HostReport>(bytes);
    read::<v1::Hello, Hello>(bytes);
    read::<v1::Row, Row>(bytes);
    read::<v1::AgentStatus, AgentStatus>(bytes);
    read::<v1::AgentOrder, AgentOrder>(bytes);
    read::<v1::Condition, Condition>(bytes);
}

fn template() -> v1::Template {
    Template::docker("fleet-agent:demo".parse().expect("image"), Mode::Once).into()
}

fn pool() -> v1::PoolAssignment {
    v1::PoolAssignment {
        pool: "nightly".into(),
        azure: Some(v1::AzureTarget { url: "https://dev.example/o".into(), pool: "p".into() }),
        prefix: "nightly".into(),
        settle: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
        credential: Some(v1::CredentialRef {
            name: "nightly".into(),
            fingerprint: "0123456789ab".into(),
        }),
        gone: false,
        groups: vec![v1::GroupAssignment {
            group: "default".into(),
            template: Some(template()),
            replicas: 1,
            placeholder: false,
        }],
        gone_groups: Vec::new(),
        forced: None,
        paused: String::new(),
    }
}

#[test]
fn each_wrong_field_is_refused_by_its_path() {
    let check = |change: fn(&mut v1::Assignment), said: &str| {
        let mut wire = v1::Assignment {
            order: Some(v1::Order::default()),
            pools: vec![pool()],
            ..Default::default()
        };
        change(&mut wire);
        let error = Assignment::try_from(wire).expect_err(said).to_string();
        assert!(error.starts_with(said), "{error:?} should begin with {said:?}");
    };
    check(|a| a.order = None, "order: is missing");
    check(|a| a.pools[0].pool = "a b".into(), "pools[0].pool: \"a b\" is not a pool name");
    check(|a| a.pools.push(pool()), "pools[1]: nightly is named twice");
    check(|a| a.pools[0].settle = None, "pools[0].settle: is missing");
    check(|a| a.pools[0].azure = None, "pools[0].azure: is missing");
    check(|a| a.pools[0].gone = true, "pools[0].gone: contradicts");
    check(|a| a.pools[0].gone_groups = vec!["a b".into()], "pools[0].gone_groups[0]: \"a b\"");
    check(
        |a| a.pools[0].gone_groups = vec!["default".into()],
        "pools[0].gone_groups: default is named among the wanted",
    );
    check(
        |a| a.pools[0].credential.as_mut().expect("there").fingerprint = "0123456789AB".into(),
        "pools[0].credential.fingerprint: must be 12",
    );
    let in_template = |change: fn(&mut v1::Template), said: &str| {
        let mut wire = v1::Assignment {
            order: Some(v1::Order::default()),
            pools: vec![pool()],
            ..Default::default()
        };
        change(wire.pools[0].groups[0].template.as_mut().expect("there"));
        let error = Assignment::try_from(wire).expect_err(said).to_string();
        let said = format!("pools[0].groups[0].template.{said}");
        assert!(error.starts_with(&said), "{error:?} should begin with {said:?}");
    };
    in_template(|t| t.runtime = 0, "runtime: is not specified");
    in_template(|t| t.mode = 77, "mode: 77 is not a value known here");
    check(|a| a.pools[0].forced = Some(v1::Forced::default()), "pools[0].forced.by: is missing");
    let leave = |reason: &str| v1::Forced { by: "ann".into(), reason: reason.into(), at: None };
    let mut wire = v1::Assignment {
        order: Some(v1::Order::default()),
        pools: vec![pool()],
        ..Default::default()
    };
    wire.pools[0].forced = Some(leave(""));
    let error = Assignment::try_from(wire).expect_err("no reason").to_string();
    assert!(error.starts_with("pools[0].forced.reason: the reason is empty"), "{error}");
    in_template(|t| t.package = Some(v1::Package::default()), "package.source: is missing");
    in_template(|t| t.mtu = Some(70_000), "mtu: 70000 is too large");
    in_template(|t| t.image = "a b".into(), "image: \"a b\" is not a container image");
}

#[test]
fn broken_times_are_refused() {
    let moment =
        |seconds, nanos| super::at("since", Some(prost_types::Timestamp { seconds, nanos }));
    assert_eq!(moment(1, 2_999_999), Ok(At(1002)));
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
        assert!(moment(seconds, nanos).is_err(), "{seconds} s {nanos} ns");
    }
    let span =
        |seconds, nanos| super::duration("settle", Some(prost_types::Duration { seconds, nanos }));
    assert!(span(1, 5).is_ok());
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        assert!(span(seconds, nanos).is_err(), "{seconds} s {nanos} ns");
    }
}

#[test]
fn a_nameless_instance_is_refused() {
    let hello = v1::Hello { host: "h1".into(), boot_id: "b".into(), ..Default::default() };
    let error = Hello::try_from(hello).expect_err("no instance");
    assert_eq!(error.field, "instance_id");
}

#[test]
fn a_refused_message_is_the_senders_fault() {
    let status = tonic::Status::from(WireError::new("pools[0].pool", "is missing"));
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "pools[0].pool: is missing");
}
