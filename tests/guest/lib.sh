# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# Helpers of the guest's tests, which run under "set -eu -o pipefail". fd 3 is the
# control line to the VMM.

# The guest's other end of the cable, see tests/l1/agent.sh and tests/l1/peer.py.
PEER=192.168.77.1
PEER6=fd77::1

# Kernel messages that fail a test whatever it says; scripts/runner reads this too.
BAD_LINES='WARNING:|[^E]BUG[: ]|Oops|INFO: (task|rcu|possible|trying|lockdep)|KASAN|UBSAN|ODEBUG: [acdfi]|pagealloc:|list_(add|del) corruption'

fail() { # WHY...
	# The first one counts: a failure inside $(...) makes its caller fail too.
	[ -e /tmp/why ] || echo "$*" >/tmp/why
	exit 1
}

# A figure or a sentence that the runner prints.
note() { echo "NOTE $*" >&3; }

# A figure that repeats, to be compared with the same one of another run.
figure() { echo "FIGURE $*" >&3; } # NAME NUMBER UNIT

# What it costs to do something a number of times: figures per time of instructions in the
# drivers and in the whole guest, of exits, signals and interrupts, if they repeat (ICOUNT=1).
measure() { # NAME TIMES DEVICE COMMAND...
	local name=$1 times=$2 device=$3 began signals interrupts
	shift 3
	signals=$(counter signals)
	interrupts=$(counter "$device.interrupts")
	host count begin
	began=$(now_ns)
	"$@" || fail "$name: it failed with status $?"
	began=$(($(now_ns) - began))
	host count end
	echo "COUNTED $name $times $began $(($(counter signals) - signals)) $(($(counter "$device.interrupts") - interrupts))" >&3
}

# Where the modules of the drivers are, for the runner to find their share in what was counted.
show_modules() {
	local file module
	for file in /sys/module/hv_vmbus/sections/.*text* /sys/module/hv_storvsc/sections/.*text* \
		/sys/module/hv_netvsc/sections/.*text*; do
		module=${file#/sys/module/}
		echo "SECTION ${module%%/*} ${file##*/} $(cat "$file")" >&3
	done
}

# The clock in nanoseconds.
now_ns() { sed -n 's/^now at \([0-9]*\) nsecs.*/\1/p' /proc/timer_list; }

# Waits until both serial lines have sent what was written: stty drains them.
flush() {
	stty -F /dev/ttyS1 raw -echo
	stty -F /dev/console sane
}

# Asks the VMM and prints its answer without the "ok".
host() { # COMMAND...
	local answer
	echo "host $*" >&3
	read -r -t 60 answer <&3 || fail "the VMM does not answer: host $*"
	case $answer in
	ok) ;;
	"ok "*) echo "${answer#ok }" ;;
	*) fail "host $*: $answer" ;;
	esac
}

# The same, for what the host cannot always do: whether it did.
try_host() { # COMMAND...
	local answer
	echo "host $*" >&3
	read -r -t 60 answer <&3 || fail "the VMM does not answer: host $*"
	case $answer in
	ok*) ;;
	*) return 1 ;;
	esac
}

# One counter of the VMM, 0 if it never counted: since it began, and since this test did, whose boot
# others had before it.
counter_ever() { host counter "$1" ever; } # NAME
counter() { host counter "$1"; } # NAME

# Asks every 0.1 s until the command succeeds. A kernel full of checks gets more time, and any twice
# as much as is said: the machine can be several times slower at one hour than at another.
within() { # SECONDS COMMAND...
	local end now
	# No program for the time: each costs a guest ten milliseconds.
	read -r now _ </proc/uptime
	end=$((${now%.*} + $1 * 2 * ${SLOW:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		read -r now _ </proc/uptime
		[ "${now%.*}" -lt $end ] || return 1
		sleep 0.1
	done
}

not() { ! "$@"; }

# The disk's name, for example sda, by its number on the controller.
disk_name() { # LUN
	local dir
	for dir in /sys/bus/scsi/devices/*:0:0:"$1"/block/*; do
		[ -b "/dev/${dir##*/}" ] && echo "${dir##*/}" && return
	done
	return 1
}

# The disk's name, with more than one controller.
disk_of() { # CONTROLLER [PATH:TARGET:]LUN
	local at=$2 dir
	case $at in *:*) ;; *) at=0:0:$at ;; esac
	for dir in /sys/bus/vmbus/devices/f8b378"$(printf %02x $((0x1a + $1)))"-*/host*/target*/*:"$at"/block/*; do
		[ -b "/dev/${dir##*/}" ] && echo "${dir##*/}" && return
	done
	return 1
}

have() { # DISKS NICS
	local lun=0
	while [ $lun -lt "$1" ]; do
		disk_name $lun || return 1
		lun=$((lun + 1))
	done
	[ "$2" = 0 ] || [ -e /sys/class/net/eth0 ]
}

# Sets $disk to /dev/... if it is there. A new disk has its file a moment before it can be opened.
opens() { # disk_name|disk_of WHICH...
	disk=/dev/$("$@") && true <"$disk"
}

# The same; fails the test if it does not come.
need_disk() { # LUN
	within 20 opens disk_name "$1" || fail "disk $1 did not come"
}

up() {
	# No second of waiting for somebody else with the address.
	echo 0 >/proc/sys/net/ipv6/conf/eth0/dad_transmits &&
		ip link set eth0 up &&
		ip addr replace 192.168.77.2/24 dev eth0 &&
		ip addr replace fd77::2/64 dev eth0 &&
		ping -c 1 -W 1 $PEER && ping -c 1 -W 1 $PEER6
}

# Brings eth0 up and waits until the peer answers.
need_net() {
	within 20 up && return
	up || true
	ip addr
	fail "eth0 did not come up or $PEER does not answer"
}

# Sets tx0, rx0, tx1, ... to the frames that the card's channels have carried.
read_queues() {
	tx1=0 rx1=0 tx2=0 rx2=0 tx3=0 rx3=0
	eval "$(host nic0 queues)"
}

# Takes eth0's card from its driver and gives it back: the host is asked everything once more.
rebind_card() {
	local device driver=/sys/bus/vmbus/drivers/hv_netvsc
	device=$(basename "$(readlink /sys/class/net/eth0/device)")
	echo "$device" >$driver/unbind
	echo "$device" >$driver/bind || fail "the card does not come"
	[ -e /sys/class/net/eth0 ] || fail "there is no eth0"
}

# How often a test does something: more in a soak, and less in a kernel full of checks, which
# sees the first time that something is wrong.
rounds() { # TIMES
	local count=$(($1 * TIMES))
	[ "${SLOW:-1}" = 1 ] || count=$(((count + 2) / 3))
	seq $count
}

sum() { sha256sum "$@" | cut -d' ' -f1; }

# Noise to write; the same file for every test of a boot. A MiB of it costs a guest 0.1 s: it repeats
# itself, but never at the same place of a block or page.
noise() { # MIB
	local n
	[ "$(stat -c %s /tmp/noise 2>/dev/null)" != $(($1 << 20)) ] || return 0
	[ -e /tmp/seed ] || head -c $(((1 << 20) + 4099)) /dev/urandom >/tmp/seed
	for n in $(seq "$1"); do cat /tmp/seed; done >/tmp/noise
	truncate -s $(($1 << 20)) /tmp/noise
}

# fio past the page cache; what it says is in /tmp/NAME.txt. Wants "# tools: fio".
fio_of() { # NAME ARGUMENTS...
	local name=$1
	shift
	/tools/fio --name="$name" --ioengine=libaio --direct=1 --thread --output="/tmp/$name.txt" "$@"
}

# The same on $disk, where each block has a checksum and is read back.
verify_fio() { # NAME ARGUMENTS...
	local name=$1
	shift
	fio_of "$name" --filename="$disk" --verify=crc32c --verify_fatal=1 --do_verify=1 "$@" || {
		cat "/tmp/$name.txt"
		fail "fio $name: $(grep -m1 -iE 'verify|error|bad' "/tmp/$name.txt")"
	}
	grep -q 'READ:' "/tmp/$name.txt" || fail "fio $name did not read anything back"
}

# Has the host keep four reads of $disk, which begins with the 1 MiB of /tmp/noise, and waits until it
# has them. Sets $readers.
keep_reads() {
	local reader before
	before=$(counter scsi0.kept)
	host scsi0 keep 4
	readers=
	for reader in 0 1 2 3; do
		dd if="$disk" of=/tmp/back$reader bs=64k skip=$((4 * reader)) count=4 iflag=direct &
		readers="$readers $!"
	done
	within 10 reads_kept $((before + 4)) || fail "the host kept $(($(counter scsi0.kept) - before)) reads, not 4"
}
reads_kept() { [ "$(counter scsi0.kept)" = "$1" ]; }

# Fails if one of them has ended.
need_kept_reads() {
	local reader
	for reader in $readers; do
		kill -0 "$reader" || fail "a read ended without an answer"
	done
}

# Has the host answer them; fails unless they return what was written.
answer_reads() {
	local reader
	host scsi0 answer
	for reader in $readers; do
		wait "$reader" || fail "a read that was answered late failed"
	done
	[ "$(cat /tmp/back0 /tmp/back1 /tmp/back2 /tmp/back3 | sum)" = "$(sum /tmp/noise)" ] ||
		fail "reads that were answered late returned other data"
}

# Sends a file to the peer and compares what it got with what was sent.
send_file() { # FILE [ADDRESS]
	local got
	got=$(nc -w 30 "${2:-$PEER}" 7001 <"$1") || fail "sending to the peer failed"
	[ "$got" = "$(sum "$1")" ] || fail "the peer got other data than was sent"
}

# Fetches the peer's 8 MiB and compares.
receive_file() { # [ADDRESS]
	receive_from 7002 "${1:-$PEER}"
}

# The same with 1 MiB, for what is done often.
receive_little() { # [ADDRESS]
	receive_from 7005 "${1:-$PEER}"
}

# 128 KiB over each of so many connections at once.
send_many() { # CONNECTIONS
	local n pids=
	[ -e /tmp/some ] || head -c 131072 /dev/urandom >/tmp/some
	for n in $(seq "$1"); do
		(send_file /tmp/some) &
		pids="$pids $!"
	done
	for n in $pids; do wait "$n" || fail "$(cat /tmp/why)"; done
}

# The same the other way; nobody looks at what comes.
receive_many() { # CONNECTIONS
	local n pids=
	for n in $(seq "$1"); do
		nc -w 30 $PEER 7010 </dev/null >/dev/null &
		pids="$pids $!"
	done
	for n in $pids; do wait "$n" || fail "receiving from the peer failed"; done
}

receive_from() { # PORT ADDRESS
	local got expected
	expected=$(nc -w 30 "$2" $(($1 + 1)) </dev/null) || fail "the peer does not tell its digest"
	got=$(nc -w 30 "$2" "$1" </dev/null | sum) || fail "receiving from the peer failed"
	[ "$got" = "$expected" ] || fail "other data came than the peer sent"
}

# Fails unless no channel of the host's waits for the guest to let it go.
need_calm() {
	within 30 calm || fail "devices do not go: the host has $(host channels)"
}
calm() { case $(host channels) in *-*) return 1 ;; esac; }

# Fails unless disk 0, which begins with /tmp/noise, and eth0 carry data.
need_data() {
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk has other data now"
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "the disk does not write any more"
	need_net
	send_file /tmp/noise
	receive_file
}

# Fails unless the guest answers heartbeats from now on.
need_heartbeat() {
	heartbeats=$(host heartbeat)
	within 20 more_heartbeats || fail "no heartbeat is answered any more"
}
more_heartbeats() { [ "$(host heartbeat)" -gt "$heartbeats" ]; }

# Unloads a module. One whose disks are being looked at is in use for a moment, with C too.
unload() { within 20 rmmod "$1" || fail "rmmod $1: it is in use"; } # MODULE

# Loads the bus and all that is on it anew, with a host whose newest version this is.
speak() { # VERSION
	local module version
	host version "$1"
	for module in hv_netvsc hv_storvsc hv_utils hv_vmbus; do
		unload $module
	done
	for module in hv_vmbus hv_utils hv_storvsc hv_netvsc; do
		modprobe $module || fail "modprobe $module with a host of version $1"
	done
	version=$(dmesg | sed -n 's/.*hv_vmbus: Vmbus version://p' | tail -n 1)
	[ "$version" = "$1" ] || fail "negotiated ${version:-nothing} with a host that knows up to $1"
}

# Whether two whole numbers differ by no more than that.
near() { # ONE OTHER LIMIT
	[ $(($1 - $2)) -le "$3" ] && [ $(($2 - $1)) -le "$3" ]
}

# A figure of this kind of machine, whose guests are ready after 2 s, for one that is slower now.
at_this_speed() { # FIGURE
	local ready
	ready=$(host ready)
	[ "$ready" -gt 2000 ] || ready=2000
	echo $(($1 * 2000 / ready))
}

at_least() { # FIGURE MINIMUM WHAT
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }' || fail "$3: $1, and at least $2 is wanted"
}
