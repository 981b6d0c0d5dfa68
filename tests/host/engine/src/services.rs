// SPDX-License-Identifier: GPL-2.0

//! The small devices, by name.

use crate::balloon::Balloon;
use crate::device::Device;
use crate::echo::Echo;
use crate::keyboard::Keyboard;
use crate::kvp::Kvp;
use crate::mouse::Mouse;
use crate::timesync::Timesync;
use crate::video::Video;
use crate::vss::Vss;

/// What [`make`] knows.
pub const NAMES: [&str; 8] =
    ["timesync", "kvp", "vss", "keyboard", "mouse", "balloon", "echo", "video"];

/// Makes a device; returns the name that it has on the control line too.
pub fn make(name: &str) -> Option<(&'static str, Box<dyn Device>)> {
    Some(match name {
        "timesync" => ("timesync", Box::new(Timesync::new())),
        "kvp" => ("kvp", Box::new(Kvp::new())),
        "vss" => ("vss", Box::new(Vss::new())),
        "keyboard" => ("keyboard", Box::new(Keyboard::new())),
        "mouse" => ("mouse", Box::new(Mouse::new())),
        "balloon" => ("balloon", Box::new(Balloon::new())),
        "echo" => ("echo0", Box::new(Echo::new())),
        "video" => ("video", Box::new(Video::new())),
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
