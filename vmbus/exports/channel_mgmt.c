// SPDX-License-Identifier: GPL-2.0
/* Channels that come and go: abi/channel.rs and service.rs. See exports.h. */

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <asm/mshyperv.h>
#include "hyperv_vmbus.h"
#include "exports.h"

/* An entry's place is the device_id of its channels (enum vmbus_device_type). */
#define DEVICE(type, id, perf, isolated, ring)	\
	[type] = {				\
		.dev_type = type,		\
		id,				\
		.perf_device = perf,		\
		.allowed_in_isolated = isolated,	\
		.pref_ring_size = ring,		\
	}

const struct vmbus_device vmbus_devs[] = {
	DEVICE(HV_IDE, HV_IDE_GUID, true, false, 0),
	DEVICE(HV_SCSI, HV_SCSI_GUID, true, true, 0),
	DEVICE(HV_FC, HV_SYNTHFC_GUID, true, false, 0),
	DEVICE(HV_NIC, HV_NIC_GUID, true, true, 0),
	DEVICE(HV_ND, HV_ND_GUID, true, false, 0),
	DEVICE(HV_PCIE, HV_PCIE_GUID, false, true, 0),
	DEVICE(HV_FB, HV_SYNTHVID_GUID, false, false, 0),
	DEVICE(HV_KBD, HV_KBD_GUID, false, false, 0),
	DEVICE(HV_MOUSE, HV_MOUSE_GUID, false, false, 0),
	DEVICE(HV_KVP, HV_KVP_GUID, false, false, 0),
	DEVICE(HV_TS, HV_TS_GUID, false, true, 0),
	DEVICE(HV_HB, HV_HEART_BEAT_GUID, false, true, 0),
	DEVICE(HV_SHUTDOWN, HV_SHUTDOWN_GUID, false, true, 0),
	/* 16 KiB are what file copy has always used. */
	DEVICE(HV_FCOPY, HV_FCOPY_GUID, false, false, 0x4000),
	DEVICE(HV_BACKUP, HV_VSS_GUID, false, false, 0),
	DEVICE(HV_DM, HV_DM_GUID, false, false, 0),
	/* Enough for anything but disks and networks, which are known. */
	[HV_UNKNOWN] = { .dev_type = HV_UNKNOWN, .pref_ring_size = 0x11000 },
};
EXPORT_SYMBOL_GPL(vmbus_devs);

RUST bool vmbus_prep_negotiate_resp(struct icmsg_hdr *icmsghdrp, u8 *buf,
				    u32 buflen, const int *fw_version,
				    int fw_vercnt, const int *srv_version,
				    int srv_vercnt, int *nego_fw_version,
				    int *nego_srv_version)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_prep_negotiate_resp);

RUST void vmbus_initiate_unload(bool crash)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_initiate_unload);

RUST void vmbus_hvsock_device_unregister(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_hvsock_device_unregister);

RUST void
vmbus_set_sc_create_callback(struct vmbus_channel *primary_channel,
			     void (*sc_cr_cb)(struct vmbus_channel *new_sc))
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_set_sc_create_callback);

RUST void
vmbus_set_chn_rescind_callback(struct vmbus_channel *channel,
			       void (*chn_rescind_cb)(struct vmbus_channel *))
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_set_chn_rescind_callback);
