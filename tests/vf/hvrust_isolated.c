// SPDX-License-Identifier: GPL-2.0
/*
 * As long as this module is loaded drivers are told that this guest is isolated by
 * virtualization based security: that the host sees nothing of its memory but what it is shown.
 * The host does see all of it; what a driver does about it is the same.
 */

#include <linux/bitfield.h>
#include <linux/module.h>
#include <asm/mshyperv.h>

static u32 priv_high;
static u32 isolation;

static int __init isolated_init(void)
{
	priv_high = ms_hyperv.priv_high;
	isolation = ms_hyperv.isolation_config_b;
	ms_hyperv.isolation_config_b = FIELD_PREP(HV_ISOLATION_TYPE, HV_ISOLATION_TYPE_VBS);
	ms_hyperv.priv_high |= HV_ISOLATION;
	return 0;
}

static void __exit isolated_exit(void)
{
	ms_hyperv.priv_high = priv_high;
	ms_hyperv.isolation_config_b = isolation;
}

module_init(isolated_init);
module_exit(isolated_exit);

MODULE_DESCRIPTION("Isolation of a guest that is not isolated, for tests");
MODULE_LICENSE("GPL");
