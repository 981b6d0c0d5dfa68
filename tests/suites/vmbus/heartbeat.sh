# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# smoke: yes
# timeout: 40
# breaks-with: the VMM asks only once (seen); hv_utils loaded without its heartbeat service
#
# The guest answers the host's heartbeats, more than one of them.

first=$(host heartbeat)
more() { [ "$(host heartbeat)" -ge $((first + 2)) ]; }
within 25 more || fail "$(host heartbeat) heartbeats are answered, 25 s ago it was $first"
