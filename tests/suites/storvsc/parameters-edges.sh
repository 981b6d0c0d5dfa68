# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# each: lowater ring
# breaks-with: storvsc/parameters.rs: no smallest ring; a low water of more than 100 (both seen)
#
# What parameters-odd.sh does with values that the C driver takes, too.

# shellcheck disable=SC1091
. /hv/tests/storvsc/parameters-odd.sh
