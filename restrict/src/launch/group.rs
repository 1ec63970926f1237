// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a program's control group comes from.

use std::process;

use super::{cgroup_limit::CgroupLimit, error::LaunchError, options::Launch, plan::Plan};
use crate::confine::{
    MechanismError,
    cgroup::{Leaf, Parent, has_scopes, probe, remove_stale, scope},
};

/// What is known of it before the program is started.
#[derive(Debug)]
pub(crate) enum Group {
    /// It is beneath one that is ours.
    Beneath(Parent),
    /// systemd makes one. libxl starts a QEMU that is to outlive what xl was started by, and
    /// can ask nobody for a group.
    Scope,
}

impl Group {
    pub(super) fn of(launch: &Launch) -> Result<Self, MechanismError> {
        let lacks = match launch.qemu.as_ref().map(|_| has_scopes()) {
            Some(Ok(true)) => return Ok(Self::Scope),
            Some(Err(lacks)) => Some(lacks),
            Some(Ok(false)) | None => None,
        };
        // It may be in one that is ours all the same.
        let there = probe().map(Self::Beneath);
        there.map_err(|error| lacks.unwrap_or(error))
    }
}

impl Plan {
    pub(super) fn leaf(&self) -> Result<Option<Leaf>, LaunchError> {
        let limits = CgroupLimit::limits(&self.cgroup_limits);
        let name = format!("{}-{}", self.key(), self.instance());
        let asked;
        let parent = match &self.cgroup {
            None => return Ok(None),
            Some(Group::Beneath(parent)) => parent,
            Some(Group::Scope) => {
                let what = format!("Device model of domain {}, by dm-restrict", self.key());
                let unit = format!("dm-restrict-{name}-{}", process::id());
                // The group that has the limits has no sibling but its supervisor's.
                asked = scope(&unit, &what, limits.cpu_weight.unwrap_or(100))?;
                &asked
            }
        };
        remove_stale(parent, &name)?;
        Ok(Some(Leaf::create(parent, &name, limits)?))
    }
}
