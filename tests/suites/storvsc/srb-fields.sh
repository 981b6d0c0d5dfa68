# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# tools: sg_raw
# breaks-with: storvsc/protocol.rs: a time-out of 30 s (seen)
#
# What a command's request says besides the command (S10): direction, tags if the disk knows them,
# room for sense data, a minute's time, lengths.

look() { # OPCODE COMMAND...: what the first such command looked like
	local all
	host scsi0 capture "$1"
	shift
	"$@" >/tmp/out 2>&1 || fail "$*: $(tail -n 1 /tmp/out)"
	all=$(host scsi0 captured)
	echo "${all%% *}"
}
same() { # WHAT GOT EXPECTED
	[ "$2" = "$3" ] || fail "$1: $2, and not $3"
}
fixed=srb=52,packet=1
host scsi0 add 5 16M
host scsi0 add 6 16M:untagged
for lun in 5 6; do
	need_disk $lun
	# Of a disk with tags: the queue action is enabled, and a queue does not freeze.
	case $lun in
	5) flags=102 tags="tag=ff,action=20" ;;
	6) flags=0 tags="tag=00,action=00" ;;
	esac
	flags=$((0x$flags | 8))
	say() { # OPCODE CDB_LENGTH DIRECTION FLAG DATA
		echo "opcode=$1,lun=$lun,cdb=$2,$fixed,direction=$3,flags=$(printf %x $((flags | $4))),timeout=60,sense=20,$tags,data=$5"
	}
	same "reading disk $lun" "$(look 28 dd if="$disk" of=/dev/null bs=16k count=1 iflag=direct)" "$(say 28 10 1 0x40 16384)"
	same "writing disk $lun" "$(look 2a dd if=/dev/zero of="$disk" bs=4k count=1 oflag=direct)" "$(say 2a 10 0 0x80 4096)"
	same "no data, disk $lun" "$(look 0 /tools/sg_raw "$disk" 0 0 0 0 0 0)" "$(say 00 6 2 0 0)"
	same "16 bytes, disk $lun" "$(look 9e /tools/sg_raw -r 32 "$disk" 9e 10 0 0 0 0 0 0 0 0 0 0 0 20 0 0)" "$(say 9e 16 1 0x40 32)"
	host scsi0 remove $lun
	within 20 not disk_name $lun || fail "disk $lun is still there"
done
