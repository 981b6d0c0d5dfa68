/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that are defined in Rust, and exported, which Rust cannot say.
 *
 * With CONFIG_MODVERSIONS, the version of a symbol is computed from the debug
 * information of the object with the EXPORT_SYMBOL(). What it depends on are
 * the names of a function's parameters, which only a definition has, and the
 * structures that the file knows. So that drivers can be loaded with the bus
 * in C and with this one, there is a file here for each one of drivers/hv
 * that exports something, with the same headers, and a definition of each
 * function. It is weak: the linker takes the one in Rust instead.
 *
 * Without CONFIG_MODVERSIONS there are declarations only, so that the module
 * does not link if Rust lacks one of them.
 */

#ifndef _HV_VMBUS_EXPORTS_H
#define _HV_VMBUS_EXPORTS_H

#ifdef CONFIG_MODVERSIONS
#define RUST		__weak
#define IN_RUST		{ __builtin_trap(); }
#else
#define RUST
#define IN_RUST
#endif

#endif /* _HV_VMBUS_EXPORTS_H */
