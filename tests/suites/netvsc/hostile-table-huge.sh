# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# boot: own
# host: --nic tap0,queues=2
# breaks-with: netvsc/queues.rs: the host's numbers are taken, and not reduced by kernel::net (seen)
#
# A send indirection table with entries that no number of a queue can be.

need_net
noise 2
host nic0 bad table-huge-entry 1
send_file /tmp/noise
# The stack notices if the driver chooses a queue that is none.
if dmesg | grep 'selects TX queue'; then fail "a frame was to go to a queue that is none"; fi
