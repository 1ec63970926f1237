// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process is held against.

use crate::{
    GuestId,
    confine::{Limit, Mechanism, Profile, rlimits},
    handover::GRANT_BROKER_NAME,
    launch::Record,
};

use super::error::AuditError;

/// What a process should be: a profile, and what its launcher recorded if there was
/// one.
///
/// ```
/// use xen_restrict::{GuestId, audit::Expectation, confine::{Mechanism, Profile}};
/// // A QEMU that `xl` started with `dm_restrict=1` for domain 7.
/// let expectation = Expectation {
///     domid: Some(GuestId::new(7)?),
///     profile: Profile::Libxl,
///     without: vec![Mechanism::XenRequests],
///     ..Expectation::default()
/// };
/// assert!(!expectation.has(Mechanism::Seccomp));
/// # Ok::<(), xen_restrict::InvalidGuestId>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The guest that its handles are restricted to. Where it is not known, they have to
    /// be restricted to one and the same.
    pub domid: Option<GuestId>,
    /// The mechanisms.
    pub profile: Profile,
    /// Without these.
    pub without: Vec<Mechanism>,
    /// What its launcher wrote down.
    pub record: Option<Record>,
    /// Whether every thread is stopped for a moment and its seccomp filters are read: a
    /// system call it waits in may fail with `EINTR` then.
    pub filters: bool,
}

impl TryFrom<Record> for Expectation {
    type Error = AuditError;

    fn try_from(record: Record) -> Result<Self, AuditError> {
        let unknown = |what: &dyn std::error::Error| AuditError::Record {
            instance: record.instance.escape_default().to_string(),
            why: what.to_string(),
        };
        let domid = record.domid.map(GuestId::new).transpose();
        let without = record
            .without
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, _>>();
        for absent in &record.absent {
            absent
                .mechanism
                .parse::<Mechanism>()
                .map_err(|error| unknown(&error))?;
        }
        for limit in &record.rlimits {
            limit.parse::<Limit>().map_err(|error| unknown(&error))?;
        }
        Ok(Self {
            domid: domid.map_err(|error| unknown(&error))?,
            profile: record.profile.parse().map_err(|error| unknown(&error))?,
            without: without.map_err(|error| unknown(&error))?,
            record: Some(record),
            filters: false,
        })
    }
}

impl Expectation {
    /// Whether a mechanism has to be in force.
    #[must_use]
    pub fn has(&self, mechanism: Mechanism) -> bool {
        self.profile.has(mechanism)
            && !self.without.contains(&mechanism)
            && self.absent(mechanism).is_none()
    }

    /// Why the launcher went on without a mechanism.
    pub(super) fn absent(&self, mechanism: Mechanism) -> Option<&str> {
        let mut absent = self.record.iter().flat_map(|record| &record.absent);
        let found = absent.find(|absent| absent.mechanism == mechanism.name());
        found.map(|absent| absent.reason.as_str())
    }

    /// That it was recorded as applied.
    pub(super) fn recorded(&self, mechanism: Mechanism) -> bool {
        self.record.is_some() && self.has(mechanism)
    }

    /// That it was recorded to share its gntdev handle with a broker.
    pub(super) fn brokered(&self) -> bool {
        let mut fds = self.record.iter().flat_map(|record| &record.fds);
        self.recorded(Mechanism::XenRequests) && fds.any(|fd| fd.name == GRANT_BROKER_NAME)
    }

    /// Limits that a process may have lowered.
    pub(super) fn limits(&self) -> Vec<Limit> {
        match &self.record {
            Some(record) => record
                .rlimits
                .iter()
                .filter_map(|limit| limit.parse().ok())
                .collect(),
            None => rlimits::of_profile(self.profile, &[]),
        }
    }
}
