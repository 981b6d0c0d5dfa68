# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# each: huge
# breaks-with: storvsc/driver.rs: the host's limit is rounded up, which overflows (seen)
#
# What limits.sh does with values that the C driver takes, too.

# shellcheck disable=SC1091
. /hv/tests/storvsc/limits.sh
