// SPDX-License-Identifier: GPL-2.0
/*
 * The parameters: those of module!{} are not visible in sysfs. The variables are Rust's, in
 * parameters.rs.
 */

#include <linux/moduleparam.h>
#include "parameters.h"

module_param_named(ring_size, netvsc_ring_size, uint, 0444);
MODULE_PARM_DESC(ring_size, "Pages of 4096 bytes of each ring of a channel (default: 128)");

module_param_named(debug, netvsc_debug, int, 0444);
MODULE_PARM_DESC(debug, "How many kinds of messages are printed: 0 none to 32 all (default: -1, some)");
