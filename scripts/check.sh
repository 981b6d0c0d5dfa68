#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Everything that can be judged without running a guest. Each step says ok or what is
# wrong; all steps run, and the exit status is 1 if one failed.

. "$(dirname "$0")/common.sh"

cd "$TOP"
failed=0
step() { # NAME COMMAND...
	local name=$1 log
	shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1; then
		printf 'ok   %s\n' "$name"
	else
		printf 'FAIL %s\n' "$name"
		sed 's/^/     | /' "$log" | tail -n 60
		failed=1
	fi
	rm -f "$log"
}
files() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

licences() {
	local bad=0 file
	for file in $(files | grep -vE '^LICENSE$|\.lock$|\.patch$|\.golden$'); do
		head -3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' ||
			{ echo "$file has no SPDX line"; bad=1; }
	done
	return $bad
}

shell_syntax() {
	local file
	for file in $(files '*.sh'); do
		bash -n "$file" || return 1
	done
}

checkpatch() {
	local tree file bad=0
	tree=$(scripts/source.sh)
	# Sign-offs are made when the series is sent, and the tree knows no MAINTAINERS of ours.
	for file in $(files 'patches/*.patch'); do
		# By stdin: a file that git knows would be checked as a file, not as a patch.
		in_root perl "$tree/scripts/checkpatch.pl" --strict --no-tree --no-signoff --terse \
			--no-summary --ignore FILE_PATH_CHANGES - <"$file" || { echo "in $file"; bad=1; }
	done
	for file in $(files 'rust/*.[ch]' 'vmbus/*.[ch]' 'netvsc/*.[ch]' 'storvsc/*.[ch]'); do
		# USE_LOCKDEP: hv_vmbus exports a function that says whether a spinlock is held.
		in_root perl "$tree/scripts/checkpatch.pl" --strict --no-tree --terse --no-summary \
			--ignore USE_LOCKDEP --file "$file" || bad=1
	done
	return $bad
}

# Unsafe code per folder; drivers of devices may have none, and no bindings.
unsafe_count() {
	local folder n bad=0
	for folder in vmbus netvsc storvsc tests/sample rust tests/host/engine tests/host/vmm; do
		[ -d "$folder" ] || continue
		n=$(files "$folder/*.rs" | xargs -r cat | grep -vE '^\s*//' | grep -cE '\bunsafe\b')
		printf '     unsafe in %s: %s\n' "$folder" "$n"
	done
	for folder in netvsc storvsc tests/sample; do
		if files "$folder/*.rs" | grep -v '/trace.rs$' |
			xargs -r grep -nE '^[^/]*(\bunsafe\b|bindings::)'; then
			bad=1
		fi
	done
	[ $bad = 0 ] || echo "FAIL unsafe or bindings:: in a client driver"
	return $bad
}

# boot/kunit asks for the result of each suite by its name.
kunit_suites() {
	local suite bad=0
	for suite in $(files '*.rs' | xargs sed -n 's/.*kunit_tests(\([a-z_]*\))\].*/\1/p'); do
		grep -qw "$suite" tests/suites/boot/kunit.sh || { echo "boot/kunit does not ask for the suite $suite"; bad=1; }
	done
	return $bad
}

# The kernel's own style, which differs from that of the test host.
kernel_rustfmt() {
	local tree rust
	tree=$(scripts/source.sh)
	mapfile -t rust < <(files 'rust/*.rs' 'vmbus/*.rs' 'netvsc/*.rs' 'storvsc/*.rs' 'tests/sample/*.rs')
	in_root rustfmt --check --edition 2021 --config-path "$tree/.rustfmt.toml" "${rust[@]}"
}

step "every file names its licence" licences
step "shell scripts parse" shell_syntax
step "rustfmt" scripts/host.sh fmt --all --check
step "clippy, warnings are errors" scripts/host.sh clippy --workspace --all-targets -- -D warnings
step "patches apply" scripts/source.sh
step "checkpatch --strict" checkpatch
step "rustfmt of the kernel's files" kernel_rustfmt
step "boot/kunit knows every suite" kunit_suites
unsafe_count || failed=1
# A client that was built for the bus in C loads with the one in Rust.
step "exports of hv_vmbus in C and in Rust are equal" scripts/crc.sh
drivers() { # CONFIG
	scripts/modules.sh "$1" && return
	echo "FAIL the drivers in Rust build as modules of the $1 kernel, without a warning (CLIPPY=${CLIPPY:-})"
	failed=1
}
# Long on the first run: its progress is shown.
if scripts/kernel.sh debug; then
	echo "ok   vmlinux links with the bus, SCSI and the FC transport as modules"
	# The KUnit tests are part of them here.
	drivers debug
else
	echo "FAIL vmlinux does not link with the bus, SCSI and the FC transport as modules"
	failed=1
fi
if scripts/kernel.sh fast; then
	# The tests run what was built without.
	CLIPPY=1 drivers fast && drivers fast
	# The sample client's own build tells how its abstractions are compiled.
	tests/misuse/run.sh fast || failed=1
else
	failed=1
fi
# An hour more: everything in the kernel, preemptible, with checked calls, for another processor, and
# with the oldest compiler that Linux takes.
if [ "${SOAK:-0}" != 0 ]; then
	for config in builtin rt cfi arm64 rust185; do
		if scripts/kernel.sh $config; then
			echo "ok   the $config kernel builds"
		else
			echo "FAIL the $config kernel does not build"
			failed=1
		fi
	done
fi
exit $failed
