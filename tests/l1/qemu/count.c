// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU: counts what guests of the emulated machine execute, by address.
 *
 * QEMU translates what a guest executes for the guest alone, and ours says so
 * (0006-plugins-flags-of-a-block.patch). The VMM in L1 executes a NOP with BEGIN in
 * it where an interval begins, and one with END in it where it ends; what was
 * counted is then appended to the file that "out=" names:
 *
 *	ADDRESS INSTRUCTIONS	for each block of code that a guest executed
 *	exits NUMBER		how often guests were entered
 *	end
 *
 * One thread emulates all processors (-icount), so nothing here is atomic. A block
 * that a guest leaves in its middle counts as a whole.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define BUCKETS (1 << 16)

static const uint8_t vmrun[] = { 0x0f, 0x01, 0xd8 };
/* nopl BEGIN(%rax) and nopl END(%rax), which are "HVRB" and "HVRE". */
static const uint8_t begin[] = { 0x0f, 0x1f, 0x80, 0x48, 0x56, 0x52, 0x42 };
static const uint8_t end[] = { 0x0f, 0x1f, 0x80, 0x48, 0x56, 0x52, 0x45 };

/* HF_GUEST_MASK of target/i386/cpu.h: what runs is a guest. */
#define GUEST (1 << 21)

/* Code that begins at one address and is executed as a whole. */
struct block {
	struct block *next;
	uint64_t address;
	uint64_t instructions;
	/* How often guests have executed it in this interval. */
	uint64_t runs;
};

static struct block *blocks[BUCKETS];
static uint64_t entries;
static bool counting;
static FILE *out;

static struct block *block_of(uint64_t address, uint64_t instructions)
{
	struct block **head = &blocks[(address ^ address >> 16) % BUCKETS];
	struct block *block;

	/* The same code may have been translated in pieces of another size. */
	for (block = *head; block; block = block->next)
		if (block->address == address && block->instructions == instructions)
			return block;
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->next = *head;
	block->address = address;
	block->instructions = instructions;
	*head = block;
	return block;
}

static void executed(unsigned int cpu, void *data)
{
	struct block *block = data;

	block->runs += counting;
}

static void entered(unsigned int cpu, void *data)
{
	entries++;
}

static void interval_begins(unsigned int cpu, void *data)
{
	entries = 0;
	counting = true;
}

static void interval_ends(unsigned int cpu, void *data)
{
	/* What is interrupted may be executed once more. */
	if (!counting)
		return;
	counting = false;
	for (int i = 0; i < BUCKETS; i++) {
		for (struct block *block = blocks[i]; block; block = block->next) {
			if (block->runs)
				fprintf(out, "%" PRIx64 " %" PRIu64 "\n", block->address,
					block->runs * block->instructions);
			block->runs = 0;
		}
	}
	fprintf(out, "exits %" PRIu64 "\nend\n", entries);
	fflush(out);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	if (qemu_plugin_tb_flags(tb) & GUEST) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS,
						     block_of(qemu_plugin_tb_vaddr(tb), count));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint8_t bytes[8];
		size_t size = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));

		if (size == sizeof(vmrun) && !memcmp(bytes, vmrun, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, entered, QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
		else if (size == sizeof(begin) && !memcmp(bytes, begin, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, interval_begins,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
		else if (size == sizeof(end) && !memcmp(bytes, end, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, interval_ends,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
					   char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fputs("count: it wants out=FILE\n", stderr);
		return -1;
	}
	out = fopen(argv[0] + 4, "w");
	if (!out) {
		perror(argv[0]);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
