/* SPDX-License-Identifier: GPL-2.0 */
/* Variables of parameters.rs. */
extern unsigned int netvsc_ring_size;
extern int netvsc_debug;
