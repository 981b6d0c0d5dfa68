# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# tools: socat
# breaks-with: a byte that the host changes in one of the streams (seen)
#
# Hyper-V sockets: streams that the guest begins and streams that the host begins carry what
# was sent, many at once too; and one that ends, by the guest, by the host or by nobody
# listening, leaves no device behind.

modprobe hv_sock || fail "modprobe hv_sock"
devices() { find /sys/bus/vmbus/devices/ -mindepth 1 -maxdepth 1 | wc -l; }
before=$(devices)
left() { [ "$(devices)" = "$before" ]; }
# The host, and what it sends back there.
ECHO=VSOCK-CONNECT:2:5000
echoed() { # FILE
	# Half a close: the answer's end comes when the host has sent everything.
	timeout 60 /tools/socat -t 30 "OPEN:/tmp/noise!!CREATE:$1" $ECHO && cmp /tmp/noise "$1"
}

noise 1
for round in 1 2; do
	echoed /tmp/back || fail "round $round: other data came back from the host than was sent"
	within 20 left || fail "round $round: the connection's device is still on the bus"
done
jobs=
for n in 1 2 3 4 5 6; do
	echoed /tmp/back$n &
	jobs="$jobs $!"
done
for job in $jobs; do
	wait "$job" || fail "one of six connections at once failed"
done
rm /tmp/back*
within 20 left || fail "six connections have ended, and there are $(devices) devices instead of $before"

listen() { # PORT
	rm -f /tmp/listener /tmp/got
	/tools/socat -d -d -u VSOCK-LISTEN:"$1" CREATE:/tmp/got 2>/tmp/listener &
	listener=$!
	within 10 grep -q listening /tmp/listener || fail "socat does not listen: $(tail -n 1 /tmp/listener)"
}
for bytes in 1 4096 1500000; do
	listen 6000
	name=$(host socket connect 6000 $bytes)
	wait $listener || fail "the listener failed: $(tail -n 1 /tmp/listener)"
	[ "$(stat -c %s /tmp/got) $(sum /tmp/got)" = "$(host "$name" sent)" ] ||
		fail "the guest got $(stat -c %s /tmp/got) bytes, others than the $bytes that the host sent"
	within 20 left || fail "a connection of the host's has ended, and its device is still there"
done

# Nobody listens there: the guest has the channel and does not open it.
more() { [ "$(devices)" -gt "$before" ]; }
name=$(host socket connect 6001 10)
within 10 more || fail "the host's offer did not come"
[ "$(host "$name" sent | cut -d ' ' -f 1)" = 0 ] || fail "somebody has opened a channel that nobody listens for"
host rescind "$name"
within 20 left || fail "an unopened connection is still there after its rescind"

# Nobody answers there, either.
refused=$(counter refused_sockets)
not timeout 20 /tools/socat -u OPEN:/tmp/noise VSOCK-CONNECT:2:5001 || fail "a connection to a port that the host refuses"
[ "$(counter refused_sockets)" = $((refused + 1)) ] || fail "the host was not asked for the port"

# The guest's program dies in the middle.
/tools/socat -t 30 OPEN:/dev/zero!!CREATE:/dev/null $ECHO &
sleep 1
more || fail "there is no connection to end"
kill -KILL $!
wait $! || true
within 30 left || fail "the connection of a program that died is still there"
# The host takes it away in the middle.
/tools/socat -t 30 OPEN:/dev/zero!!CREATE:/dev/null $ECHO 2>/tmp/socat &
sleep 1
# All others have gone: it has their first place.
host rescind socket0
within 20 not kill -0 $! || fail "a program still has a connection that the host took away"
within 20 left || fail "a connection that the host took away is still on the bus"
rmmod hv_sock || fail "hv_sock is still in use"
