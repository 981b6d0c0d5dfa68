# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 120
# boot: own
# host: --pattern
# xfail-c: Y3 a read hangs
# breaks-with: storvsc/queue.rs: commands that the host cannot answer any more are forgotten (seen)
#
# The host writes over the buffers of reads that it does not answer, and then takes the
# controller away: the reads end with an error, and nothing of it gets into memory that
# is used again, which the debug kernel sees by its poison.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
# Otherwise sd flushes the disk when it goes, which C's driver never ends either. Not
# later: this waits for what is under way.
for lun in 0 1; do
	echo temporary write through >"$(echo /sys/class/scsi_disk/*:0:0:$lun)/cache_type"
done
keep_reads
sleep 1
[ "$(counter patterns_kept)" -ge 40 ] || fail "the host wrote over buffers $(counter patterns_kept) times"
host rescind scsi0
# All of the memory, used once.
churn() { dd if=/dev/zero of=/tmp/churn bs=1M count=200 2>/dev/null && rm /tmp/churn; }
churn
for reader in $readers; do
	within 15 not kill -0 "$reader" || fail "a read hangs 15 s after the rescind"
done
churn
host offer scsi0
need_disk 0
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk came back with other data"
