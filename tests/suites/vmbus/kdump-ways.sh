# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 60
# soak: 4
# run: soak
# boot: own
# each: direct silent
# kernel: yes
# tools: kexec
# memory: 768
# append: crashkernel=256M
# host: --append retain_initrd --crash-kernel
# breaks-with: vmbus/connection.rs: unload_by_polling() sends nothing
#
# As vmbus/kdump, but with the crash handler alone, or with a host that does not confirm UNLOAD in
# time: in a soak never.

. /hv/tests/vmbus/kdump.sh
