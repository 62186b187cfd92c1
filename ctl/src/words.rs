//! Wire enums as the words people read. A number that this version does not know is shown as a
//! number: a newer coordinator must not make an older agentctl fail.

use fleet_proto::v1;

/// The word for a phase: `Idle`, `DisabledElsewhere`.
pub(crate) fn phase(number: i32) -> String {
    camel(v1::Phase::try_from(number).map(|v| v.as_str_name()), "PHASE_", number)
}

/// The word for a host's state: `Ready`, `Down`.
pub(crate) fn host_state(number: i32) -> String {
    camel(v1::HostState::try_from(number).map(|v| v.as_str_name()), "HOST_STATE_", number)
}

/// The word for a host's availability: `Active`, `Paused`.
pub(crate) fn availability(number: i32) -> String {
    camel(v1::Availability::try_from(number).map(|v| v.as_str_name()), "AVAILABILITY_", number)
}

/// The word for what a pool's restraint leaves it.
pub(crate) fn availability_of(restraint: Option<&v1::Restraint>) -> String {
    availability(match restraint.map(v1::Restraint::kind) {
        None => v1::Availability::Active.into(),
        Some(v1::RestraintKind::Cordon) => v1::Availability::Cordoned.into(),
        Some(v1::RestraintKind::Pause) => v1::Availability::Paused.into(),
        Some(v1::RestraintKind::Drain) => v1::Availability::Draining.into(),
        // A newer coordinator's word.
        Some(v1::RestraintKind::Unspecified) => -1,
    })
}

/// The word for a way of holding back: `drain`.
pub(crate) fn restraint(number: i32) -> String {
    kebab(v1::RestraintKind::try_from(number).map(|v| v.as_str_name()), "RESTRAINT_KIND_", number)
}

/// The word for what happens at a deadline: `give-up`.
pub(crate) fn at_deadline(number: i32) -> String {
    kebab(v1::AtDeadline::try_from(number).map(|v| v.as_str_name()), "AT_DEADLINE_", number)
}

/// The word for a condition: `ImageMissing`.
pub(crate) fn condition(number: i32) -> String {
    camel(v1::ConditionKind::try_from(number).map(|v| v.as_str_name()), "CONDITION_KIND_", number)
}

/// The word for an intent: `keep`, `drain`.
pub(crate) fn intent(number: i32) -> String {
    kebab(v1::Intent::try_from(number).map(|v| v.as_str_name()), "INTENT_", number)
}

/// The word for a runtime: `docker`.
pub(crate) fn runtime(number: i32) -> String {
    kebab(v1::RuntimeKind::try_from(number).map(|v| v.as_str_name()), "RUNTIME_KIND_", number)
}

/// The word for a mode: `once`, `long-lived`.
pub(crate) fn mode(number: i32) -> String {
    kebab(v1::Mode::try_from(number).map(|v| v.as_str_name()), "MODE_", number)
}

/// The word for an entry: `own`, `image`.
pub(crate) fn entry(number: i32) -> String {
    kebab(v1::Entry::try_from(number).map(|v| v.as_str_name()), "ENTRY_", number)
}

/// The word for a leftover: `row`, `agent`.
pub(crate) fn leftover_kind(number: i32) -> String {
    kebab(v1::LeftoverKind::try_from(number).map(|v| v.as_str_name()), "LEFTOVER_KIND_", number)
}

/// The word for what becomes of it: `delete`, `keep`.
pub(crate) fn leftover_verdict(number: i32) -> String {
    let name = v1::LeftoverVerdict::try_from(number).map(|v| v.as_str_name());
    kebab(name, "LEFTOVER_VERDICT_", number)
}

/// `1 agent`, `2 agents`.
pub(crate) fn count(number: impl Into<u64>, one: &str) -> String {
    match number.into() {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

type Known<'a, E> = Result<&'a str, E>;

fn camel<E>(name: Known<'_, E>, prefix: &str, number: i32) -> String {
    let Ok(name) = name else { return format!("#{number}") };
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    bare.split('_').map(capital).collect()
}

fn kebab<E>(name: Known<'_, E>, prefix: &str, number: i32) -> String {
    let Ok(name) = name else { return format!("#{number}") };
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_owned() + &rest.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use fleet_model::{Availability, ConditionKind, HostState, Intent, Mode, Phase, RuntimeKind};

    use super::*;

    /// The words on the wire's edge are the model's words, so that `get` and the logs agree.
    #[test]
    fn words_agree_with_the_model() {
        let phases: Vec<String> = (1..=14).map(phase).collect();
        assert_eq!(phases, Phase::ALL.map(|p| p.to_string()));
        assert_eq!(phase(v1::Phase::DisabledElsewhere.into()), "DisabledElsewhere");
        assert_eq!(host_state(v1::HostState::Down.into()), HostState::Down.to_string());
        assert_eq!(availability(v1::Availability::Paused.into()), Availability::Paused.to_string());
        let missing = ConditionKind::ImageMissing;
        assert_eq!(condition(v1::ConditionKind::ImageMissing.into()), missing.to_string());
        assert_eq!(intent(v1::Intent::Drain.into()), Intent::Drain.to_string());
        assert_eq!(runtime(v1::RuntimeKind::Docker.into()), RuntimeKind::Docker.to_string());
        assert_eq!(mode(v1::Mode::LongLived.into()), Mode::LongLived.to_string());
    }

    #[test]
    fn an_unknown_number_is_shown_and_nothing_fails() {
        assert_eq!(phase(99), "#99");
        assert_eq!(intent(-1), "#-1");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            (count(1_u32, "agent"), count(0_u32, "agent")),
            ("1 agent".into(), "0 agents".into())
        );
    }
}
