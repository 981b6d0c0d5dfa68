# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# rust: hv_vmbus hv_storvsc
# timeout: 240
# run: soak
# boot: own
# host: --disk debian.ext4:copy
# append: systemd.show_status=no systemd.getty_auto=no
# tools: e2fsck
# breaks-with: an option that apt does not bear, so that it installs nothing (seen); a disk that loses writes (not tried yet)
#
# Debian 13 boots from a storvsc disk and runs from it: this system, with the drivers as modules, is
# its initramfs and makes way for it. systemd comes up, the files of packages are what they were, apt
# installs one more. After Debian has gone down its last mount is undone, and its file system clean.

need_disk 2
name=${disk#/dev/}
mount -t ext4 "$disk" /mnt
umount /run 2>/dev/null || true
mount -t tmpfs tmpfs /run

# What Debian goes down into.
mkdir -p /run/initramfs/bin /run/initramfs/lib /run/initramfs/tools
cp /bin/busybox /run/initramfs/bin/
for applet in sh umount cat sleep tail grep sort cut poweroff sync stty; do ln -s busybox /run/initramfs/bin/$applet; done
for file in /tools/e2fsck $(LD_TRACE_LOADED_OBJECTS=1 /tools/e2fsck | grep -o '/[^ ]*'); do
	mkdir -p "/run/initramfs${file%/*}"
	cp -L "$file" "/run/initramfs$file"
done
cat >/run/initramfs/shutdown <<END
#!/bin/sh
export PATH=/bin
exec 3<>/dev/ttyS1 >/dev/console 2>&1
stty -F /dev/ttyS1 raw -echo
done_with() {
	[ "\$1" = PASS ] || cat /out
	echo "\$1" >&3
	stty -F /dev/ttyS1 raw
	poweroff -f
	sleep 60
}
for try in 1 2 3 4 5; do
	for place in \$(cut -d' ' -f2 /proc/mounts | grep '^/oldroot' | sort -r); do umount "\$place"; done
	grep -q ' /oldroot' /proc/mounts || break
	sleep 0.5
done
grep ' /oldroot' /proc/mounts && done_with "FAIL the root of Debian stays mounted"
[ "\$(cat /result)" = ok ] || done_with "FAIL Debian: \$(cat /result)"
/tools/e2fsck -fn /dev/$name >/out 2>&1 || done_with "FAIL the file system of Debian is not clean: \$(grep -v Pass /out | tail -n 1)"
done_with PASS
END
chmod +x /run/initramfs/shutdown
echo "it went down by itself" >/run/initramfs/result

cat >/mnt/hvtest.sh <<END
exec >/run/initramfs/out 2>&1
bad() { echo "\$*" >/run/initramfs/result; systemctl poweroff; exit 1; }
state=\$(systemctl is-system-running --wait)
[ "\$state" = running ] || bad "systemd is \$state: \$(systemctl --failed --no-legend --plain | head -n 3 | tr '\n' ' ')"
[ "\$(findmnt -no SOURCE /)" = /dev/$name ] || bad "its root is \$(findmnt -no SOURCE /)"
readlink -f /sys/class/block/$name | grep -q f8b3781a || bad "its root is \$(readlink -f /sys/class/block/$name)"
grep -q "^PRETTY_NAME=.*13" /etc/os-release || bad "it is \$(grep PRETTY /etc/os-release)"
[ "\$(dpkg -l | grep -c ^ii)" -gt 60 ] || bad "it has \$(dpkg -l | grep -c ^ii) packages"
[ -z "\$(dpkg --audit)" ] || bad "dpkg: \$(dpkg --audit | head -n 1)"
# What comes from the disk, not from memory.
sync
echo 3 >/proc/sys/vm/drop_caches
changed=\$(dpkg --verify libc6 systemd apt dpkg bash | grep -vE '^missing +/usr/share/(doc|man|locale|info)')
[ -z "\$changed" ] || bad "files have changed: \$(echo "\$changed" | head -n 1)"
mkdir -p /root/one/DEBIAN /root/one/opt
head -c 4000000 /dev/urandom >/root/one/opt/data
printf 'Package: one\nVersion: 1\nArchitecture: all\nMaintainer: test <test@localhost>\nDescription: one more\n' >/root/one/DEBIAN/control
dpkg-deb -Znone --build /root/one /tmp/one.deb || bad "a package cannot be made"
apt-get -qy install /tmp/one.deb || bad "a package cannot be installed"
dpkg -s one | grep -q 'Status: install ok installed' || bad "the package is not there"
cmp /root/one/opt/data /opt/data || bad "the package has other data"
wrong=\$(journalctl -q -k --no-pager | grep -E 'I/O error|EXT4-fs (error|warning)|cmd 0x') && bad "the kernel: \$(echo "\$wrong" | head -n 1)"
echo ok >/run/initramfs/result
systemctl poweroff
END
cat >/mnt/etc/systemd/system/hvtest.service <<END
[Service]
ExecStart=/bin/bash /hvtest.sh
END
mkdir -p /mnt/etc/systemd/system/multi-user.target.wants
ln -s ../hvtest.service /mnt/etc/systemd/system/multi-user.target.wants/

# The first process goes on with this, see tests/guest/init.
cat >/tmp/then <<'END'
exec 3>&-
umount /sys/kernel/debug
for place in dev proc sys run; do mount --move /$place /mnt/$place; done
exec switch_root /mnt /sbin/init
END
