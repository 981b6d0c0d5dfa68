// SPDX-License-Identifier: GPL-2.0

//! The small devices, by name.

use crate::device::Device;
use crate::echo::Echo;

/// What [`make`] knows.
pub const NAMES: [&str; 1] = ["echo"];

/// Makes a device; returns the name that it has on the control line too.
pub fn make(name: &str) -> Option<(&'static str, Box<dyn Device>)> {
    Some(match name {
        "echo" => ("echo0", Box::new(Echo::new())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_makes_another_device() {
        let made = NAMES.map(|name| make(name).expect(name));
        let names: BTreeSet<_> = made.iter().map(|(name, _)| *name).collect();
        let instances: BTreeSet<_> = made.iter().map(|(_, d)| d.offer().instance.0).collect();
        assert_eq!((names.len(), instances.len()), (NAMES.len(), NAMES.len()));
        assert!(make("nothing").is_none());
    }
}
