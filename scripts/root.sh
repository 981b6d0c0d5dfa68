#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes or completes the Debian 13 root in the cache: compilers, kernel source,
# QEMU and the guests' tools. Takes the mirror, apt's options and the CA bundle
# from the machine it runs on.

. "$(dirname "$0")/common.sh"

LIST=$TOP/scripts/root.packages
STAMP=$ROOT/.hvrust-packages

[ -e "$STAMP" ] && cmp -s "$LIST" "$STAMP" && exit 0
need_root
heavy_lock

free=$(df -Pk "$CACHE" | awk 'NR==2 { print int($4 / 1048576) }')
[ "$free" -ge 10 ] ||
	die "$CACHE has $free GB free and 10 are needed: make room or set HVRUST_CACHE"

# The first URI of the machine's own apt configuration that serves Debian itself.
mirror() {
	local uri
	uri=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list \
		/etc/apt/sources.list.d/*.list 2>/dev/null |
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] *\)\?\([^ ]*\).*/\2/p' |
		grep -v -e security -e ubuntu | grep -m1 /debian || true)
	echo "${uri:-http://deb.debian.org/debian}"
}

MIRROR=$(mirror)
if [ ! -x "$(command -v debootstrap)" ]; then
	[ -x "$(command -v apt-get)" ] ||
		die "debootstrap is missing and so is apt-get: install debootstrap by hand"
	say "installing debootstrap"
	{ apt-get -qq update && apt-get -qqy install debootstrap; } >"$CACHE/apt.log" 2>&1 ||
		die "apt-get could not install debootstrap: see $CACHE/apt.log"
fi

if [ ! -e "$ROOT/.hvrust-base" ]; then
	say "debootstrap: Debian 13 into $ROOT (about half a minute)"
	rm -rf "$ROOT"
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keyring ] || die "the Debian archive keys are missing: install debian-archive-keyring"
	debootstrap --variant=minbase --keyring=$keyring trixie "$ROOT" "$MIRROR" \
		>"$CACHE/debootstrap.log" 2>&1 ||
		die "debootstrap failed: $(tail -1 "$CACHE/debootstrap.log") (all of it: $CACHE/debootstrap.log)"
	# The machine's way to its mirrors: options, proxies, certificates, cargo registry.
	cp -a /etc/apt/apt.conf.d/. "$ROOT/etc/apt/apt.conf.d/" 2>/dev/null || true
	cp -a /etc/apt/auth.conf.d "$ROOT/etc/apt/" 2>/dev/null || true
	mkdir -p "$ROOT/etc/ssl/certs" "$ROOT/hvrust" "$ROOT/cache" "$ROOT/l1" "$ROOT/ksrc" "$CACHE/cargo"
	# Installed packages cost time with documentation and fsync; nobody reads the former here.
	printf 'path-exclude=/usr/share/%s/*\n' doc man locale info >"$ROOT/etc/dpkg/dpkg.cfg.d/hvrust"
	echo force-unsafe-io >>"$ROOT/etc/dpkg/dpkg.cfg.d/hvrust"
	printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
	chmod +x "$ROOT/usr/sbin/policy-rc.d"
	touch "$ROOT/.hvrust-base"
fi
cat >"$ROOT/etc/apt/sources.list" <<-LIST
	deb $MIRROR trixie main
	deb $MIRROR trixie-updates main
	deb $MIRROR trixie-backports main
	deb-src $MIRROR trixie main
LIST
for conf in "${CARGO_HOME:-$HOME/.cargo}"/config "${CARGO_HOME:-$HOME/.cargo}"/config.toml; do
	[ -e "$conf" ] && cp "$conf" "$CACHE/cargo/"
done
cp -L /etc/resolv.conf /etc/hosts "$ROOT/etc/" 2>/dev/null || true
[ -e /etc/ssl/certs/ca-certificates.crt ] && mkdir -p "$ROOT/etc/ssl/certs" &&
	cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"

say "installing the tools into the root (about two minutes; log: $CACHE/apt.log)"
mapfile -t packages < <(grep -v '^#' "$LIST")
in_root apt-get -q update >"$CACHE/apt.log" 2>&1 ||
	die "apt-get update failed in the root: $(grep -m1 '^[EW]:' "$CACHE/apt.log") (all of it: $CACHE/apt.log)"
in_root apt-get -qy --no-install-recommends install "${packages[@]}" >>"$CACHE/apt.log" 2>&1 ||
	die "apt-get install failed in the root: $(grep -m1 '^E:' "$CACHE/apt.log") (all of it: $CACHE/apt.log)"
in_root apt-get clean
# ca-certificates writes its own bundle; the machine's is the one that reaches the registries.
[ -e /etc/ssl/certs/ca-certificates.crt ] &&
	cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
cp "$LIST" "$STAMP"
say "Debian root is ready: $(du -sh "$ROOT" | cut -f1)"
