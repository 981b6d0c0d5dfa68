# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus hv_storvsc hv_netvsc
# timeout: 60
# boot: own
# tools: depmod modprobe modinfo
# breaks-with: depmod is not run (seen)
#
# The modules in Rust lie under updates/ beside those in C, as modules_install puts them there. What
# loads drivers by a device's alias, as udev does, loads those in Rust.

modules=/lib/modules/$(uname -r)
mkdir -p "$modules/updates"
for name in $RUST; do
	file=$(find "$modules/kernel" -name "$name.ko")
	[ -e "/hv/c/$name.ko" ] || fail "there is no $name in C"
	cp "$file" "$modules/updates/"
	cp "/hv/c/$name.ko" "$file"
done
/tools/depmod -a || fail "depmod"
for name in $RUST; do
	[ "$(/tools/modinfo -n "$name")" = "$modules/updates/$name.ko" ] || fail "modinfo finds $(/tools/modinfo -n "$name")"
	# The alias of what is not loaded is the same in both, and so are parameters.
	for what in alias parm; do
		/tools/modinfo -F $what "$name" | sort >/tmp/rust
		/tools/modinfo -F $what "/hv/c/$name.ko" | sort >/tmp/c
		[ "$what" = alias ] || { sed -i 's/:.*(/ (/' /tmp/rust /tmp/c; }
		cmp /tmp/rust /tmp/c || fail "$name has another $what: $(diff /tmp/c /tmp/rust | tail -n +2 | head -n 4 | tr '\n' ' ')"
	done
done

# Everything goes that can, and comes back by aliases only.
for name in hv_netvsc hv_storvsc hv_utils hv_vmbus; do
	/tools/modprobe -r $name || fail "$name does not go"
done
not grep -q '^hv_' /proc/modules || fail "$(grep '^hv_' /proc/modules | head -n 1) is still there"
coldplug() {
	find /sys/devices -name modalias | while read -r file; do
		/tools/modprobe -q -b -- "$(cat "$file")" || true
	done
}
coldplug
within 10 [ -e /sys/bus/vmbus/drivers ] || fail "nothing loads the bus"
devices() { ls /sys/bus/vmbus/devices/*/modalias; }
within 10 devices || fail "the bus has no devices"
sleep 1
coldplug
need_net
need_disk 0
# Who is it that was loaded: symbols of Rust begin so.
for name in hv_vmbus hv_storvsc hv_netvsc; do
	grep -q "^$name " /proc/modules || fail "$name was not loaded"
	case " $RUST " in
	*" $name "*) grep -q " _R.*\[$name\]" /proc/kallsyms || fail "$name was loaded, but the one in C" ;;
	*) not grep -q " _R.*\[$name\]" /proc/kallsyms || fail "$name was loaded, but the one in Rust" ;;
	esac
done
noise 1
send_file /tmp/noise
