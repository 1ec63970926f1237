// SPDX-License-Identifier: MIT OR Apache-2.0
//! What mapping its guest lets a program take of dom0.

use super::{Role, View};
use crate::{
    audit::process::Process,
    confine::{MappingCost, Mechanism},
};

impl View<'_> {
    /// In the words that follow what `xen-requests` says.
    pub(super) fn mapping(&self) -> String {
        let over = match self.filters {
            Some(filters) => filters.refuse_mapping(),
            None => self.mapping_is_recorded_as_over(),
        };
        if over {
            return "guest memory is mapped for good".to_owned();
        }
        let cost = MappingCost::within(self.most("as"), self.most("nproc"));
        format!("mapping its guest can take of dom0's memory {cost}")
    }

    fn mapping_is_recorded_as_over(&self) -> bool {
        let record = self.expectation.record.as_ref();
        self.expectation.recorded(Mechanism::XenRequests)
            && record.is_some_and(|record| record.sealed && record.seal_mapping)
    }

    /// What the least limited of its processes can raise a limit to.
    fn most(&self, name: &str) -> Option<u64> {
        let hard = |process: &Process| {
            let limit = process.limits.iter().find(|limit| limit.name == name)?;
            limit.hard
        };
        let processes = self.snapshot.processes.iter();
        let own = processes.filter(|process| process.role != Role::Init);
        own.map(|process| hard(process).unwrap_or(u64::MAX))
            .max()
            .filter(|most| *most != u64::MAX)
    }
}
