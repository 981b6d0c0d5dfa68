# SPDX-License-Identifier: GPL-2.0
# For people; the kernel's build uses Kbuild.

SHELL := /bin/bash
export SUITE TEST VCPUS VMBUS STORVSC NETVSC HOST KCONFIG SOAK ICOUNT KEEP KSRC JOBS MACHINES

.PHONY: help run test bench check kernel root host
.NOTPARALLEL:

help:
	@echo 'make run       boot a guest with the drivers in Rust on our own Hyper-V host: a disk, a network card, and a shell'
	@echo 'make test      run the tests in guests; ends with "N passed, N failed"'
	@echo 'make bench     the cost of fixed work, with the drivers in C and in Rust, in one table'
	@echo 'make check     formatting, lints, patches, link proof; with SOAK=1 also kernels that are seldom built'
	@echo 'make kernel    the patched kernel, in $$HVRUST_CACHE/build/$$KCONFIG (default: fast)'
	@echo
	@echo 'SUITE=storvsc TEST=ext4           choose tests'
	@echo 'VCPUS=2        only on two processors (default: on as many as the test can have); 3 and 4 too'
	@echo 'KCONFIG=debug  on the kernel with lockdep, KASAN, kmemleak, ... (default: fast, and some tests on debug); builtin, rt, cfi'
	@echo 'SOAK=1         all tests on both kernels, some of them for longer'
	@echo 'ICOUNT=1       figures that repeat: every instruction takes a nanosecond; each run twice and compared'
	@echo 'VMBUS=rust     all tests with the bus driver in Rust; c: in C; both: those about the bus with each'
	@echo 'STORVSC=, NETVSC=  the same for the storage and the network driver (default: all in Rust; with SOAK=1 in every mixture)'
	@echo 'MACHINES=N     so many emulated machines at a time (default: two for each processor)'
	@echo 'KEEP=1         keep the logs of all boots, in $$HVRUST_CACHE/kept'
	@echo 'HOST=kvm|tcg   run guests on this KVM, or in an emulated machine (default: what works)'
	@echo 'KSRC=DIR       another Linux 7.3 tree than Debian'"'"'s'
	@echo 'JOBS=N         parallel jobs of a build'
	@echo 'HVRUST_CACHE   where everything is kept (default: ~/.cache/hvrust; 10 GB)'

root:
	@scripts/root.sh

kernel: root
	@scripts/kernel.sh $(or $(KCONFIG),fast)

host: root
	@scripts/host.sh

# The runner needs the root's python3, not the machine's.
RUNNER := . scripts/common.sh; heavy_lock; in_root scripts/run.py

# The runner makes the kernels that its guests need.
run: host
	@$(RUNNER) demo

test: host
	@$(if $(SOAK)$(findstring debian,$(TEST)),scripts/debian.sh)
	@scripts/host.sh test
	@$(RUNNER) test

bench: host
	@$(RUNNER) bench

check: root
	@scripts/check.sh
