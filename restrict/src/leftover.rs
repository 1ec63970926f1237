// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a handle holds of another domain. The kernel's restrict requests leave
//! it usable, so a handle that has any is not restricted.

use std::fmt;

use crate::ids::{GuestId, IoreqServerId, Port};

/// One thing that a handle holds of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The other side; `None` where it has no domid (a virtual interrupt).
    pub domain: Option<GuestId>,
    /// The thing itself.
    pub what: Held,
}

/// The kinds of things that outlive a restriction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// A bound event channel port.
    Port(Port),
    /// A mapping of the other domain's memory, in pages.
    Memory(usize),
    /// A mapping of one of the other domain's resources, in pages.
    Resource(usize),
    /// Mapped grants of the other domain, in pages.
    Grants(usize),
    /// Pages granted to the other domain.
    GrantedPages(usize),
    /// An ioreq server in the other domain.
    IoreqServer(IoreqServerId),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Held::Port(port) => write!(f, "{port} bound")?,
            Held::Memory(pages) => write!(f, "{pages} pages mapped")?,
            Held::Resource(pages) => write!(f, "a resource of {pages} pages mapped")?,
            Held::Grants(pages) => write!(f, "{pages} grants mapped")?,
            Held::GrantedPages(pages) => write!(f, "{pages} pages granted")?,
            Held::IoreqServer(server) => write!(f, "{server}")?,
        }
        let preposition = match self.what {
            Held::Port(_) | Held::GrantedPages(_) => "to",
            Held::IoreqServer(_) => "in",
            _ => "from",
        };
        match self.domain {
            Some(domain) => write!(f, " {preposition} {domain}"),
            None => write!(f, " {preposition} a virtual interrupt of dom0"),
        }
    }
}

pub(crate) fn list(leftovers: &[Leftover]) -> String {
    let names: Vec<_> = leftovers.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What a handle holds now, of which domains.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: Vec<(u64, Leftover)>,
    next: u64,
}

impl Ledger {
    /// Records a thing; the ticket takes it out again.
    pub(crate) fn add(&mut self, domain: Option<GuestId>, what: Held) -> u64 {
        self.next += 1;
        self.held.push((self.next, Leftover { domain, what }));
        self.next
    }

    pub(crate) fn remove(&mut self, ticket: u64) {
        self.held.retain(|(t, _)| *t != ticket);
    }

    /// Everything that is not `guest`'s own.
    pub(crate) fn foreign_to(&self, guest: GuestId) -> Vec<Leftover> {
        let foreign = |l: &&Leftover| l.domain != Some(guest);
        let held = self.held.iter().map(|(_, leftover)| leftover);
        held.filter(foreign).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_names_what_is_foreign_and_forgets_what_is_closed() {
        let (a, b) = (GuestId::new(1).unwrap(), GuestId::new(2).unwrap());
        let mut ledger = Ledger::default();
        ledger.add(Some(a), Held::Memory(3));
        let port = ledger.add(Some(b), Held::Port(Port::new(9)));
        let virq = ledger.add(None, Held::Port(Port::new(4)));
        assert_eq!(
            list(&ledger.foreign_to(a)),
            "port 9 bound to domain 2, port 4 bound to a virtual interrupt of dom0"
        );
        ledger.remove(port);
        ledger.remove(virq);
        assert!(ledger.foreign_to(a).is_empty());
        assert_eq!(list(&ledger.foreign_to(b)), "3 pages mapped from domain 1");
    }
}
