/* SPDX-License-Identifier: GPL-2.0 */
/* Variables of parameters.rs. */
extern int storvsc_logging_level;
extern int storvsc_ring_size;
extern unsigned int storvsc_hw_queues;
extern int storvsc_cpus_per_channel;
extern int storvsc_low_water;
