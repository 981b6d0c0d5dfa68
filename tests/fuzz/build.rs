// SPDX-License-Identifier: GPL-2.0

//! The unit tests of the kernel's files are compiled too: they run here as they do in the kernel.

fn main() {
    println!("cargo:rustc-cfg=CONFIG_KUNIT=\"y\"");
    println!("cargo:rerun-if-changed=build.rs");
}
