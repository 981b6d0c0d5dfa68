# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# tools: hv_kvp_daemon
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM asks another pool than it is told to (seen)
#
# Through hv_utils and its daemon the host reads what the guest tells of itself, and writes,
# reads and deletes pairs in the guest's pools, all of a pool in turn, and asks for single keys.

pools=/var/lib/hyperv
within 10 test -c /dev/vmbus/hv_kvp || fail "there is no /dev/vmbus/hv_kvp"
mkdir -p $pools /var/run
[ "$(host kvp ready)" = false ] || fail "versions are agreed on without the daemon"
/tools/hv_kvp_daemon -n &
daemon=$!
ready() { [ "$(host kvp ready)" = true ]; }
within 20 ready || fail "20 s after the daemon's start the guest has not agreed on a version"

answered() { [ "$(host kvp answer)" != pending ]; }
ask() { # OPERATION... ; the answer is in $answer
	host kvp "$@" >/dev/null
	within 20 answered || fail "no answer to: $*"
	answer=$(host kvp answer)
}
expect() { # ANSWER OPERATION...
	local expected=$1
	shift
	ask "$@"
	[ "$answer" = "$expected" ] || fail "$* is answered '$answer', not '$expected'"
}

# What there is: pool 2, made by the daemon when asked.
expect "0x00000000 OSBuildNumber $(uname -r)" enumerate 2 4
expect "0x00000000 OSName $(uname -s)" enumerate 2 5
expect "0x00000000 ProcessorArchitecture $(uname -m)" enumerate 2 9
# No more data.
expect 0x80070103 enumerate 2 10

# Pool 0 is the host's.
expect 0x80070103 enumerate 0 0
expect 0x00000000 set 0 greeting "good morning, guest"
[ "$(head -c 8 $pools/.kvp_pool_0)" = greeting ] || fail "the file of pool 0 does not begin with the key"
[ "$(tail -c +513 $pools/.kvp_pool_0 | head -c 19)" = "good morning, guest" ] || fail "the file of pool 0 does not hold the value"
expect "0x00000000 greeting good morning, guest" enumerate 0 0
# By its key: Linux tells whether it is there, and nothing of its value. The daemon copies as
# many bytes as the kernel asks for, and that leaves their number at 0 (hv_kvp.c, kvp_send_key).
expect "0x00000000 greeting" get 0 greeting
expect 0x00000000 set 0 greeting "good evening!"
expect 0x00000000 set 0 second "ä €"
expect "0x00000000 second ä €" enumerate 0 1
expect 0x80070103 enumerate 0 2
expect "0x00000000 second" get 0 second
expect 0x80070103 get 0 third
expect 0x80070103 get 3 second
expect 0x00000000 delete 0 greeting
expect "0x00000000 second ä €" enumerate 0 0
expect 0x80070103 delete 0 greeting
expect 0x80070103 get 0 greeting

# The other way round: a pair that a program of the guest has put into pool 1.
{
	printf %s answer && head -c $((512 - 6)) /dev/zero
	printf %s 42 && head -c $((2048 - 2)) /dev/zero
} >>$pools/.kvp_pool_1
expect "0x00000000 answer 42" enumerate 1 0
expect "0x00000000 answer" get 1 answer

kill $daemon
wait || true
rm -r $pools
