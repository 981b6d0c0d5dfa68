// SPDX-License-Identifier: GPL-2.0
/*
 * Programs for tests/suites/netvsc/xdp*.sh: all are in xdp.o, which image.sh makes.
 * Frames that are not ping's over IPv4 always pass.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

/* As in the kernel's linux/bpf.h, which needs more headers than there are here. */
enum { ABORTED, DROP, PASS, TX, REDIRECT };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static long (*const bpf_redirect)(u32 ifindex, u32 flags) = (void *)23;
static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;

#define INLINE static inline __attribute__((always_inline))
#define XDP __attribute__((section("xdp"), used))

/* The frame, if it is an ICMP message over IPv4 without options: 42 bytes at least. */
INLINE u8 *ping(struct xdp_md *ctx)
{
	u8 *frame = (u8 *)(long)ctx->data;

	if (frame + 42 > (u8 *)(long)ctx->data_end)
		return 0;
	if (frame[12] != 0x08 || frame[13] != 0x00 || frame[14] != 0x45 || frame[23] != 1)
		return 0;
	return frame;
}

/* Swaps what has so many bytes. */
INLINE void swap(u8 *one, u8 *other, int len)
{
	for (int i = 0; i < len; i++) {
		u8 byte = one[i];

		one[i] = other[i];
		other[i] = byte;
	}
}

XDP
int pass(struct xdp_md *ctx)
{
	return PASS;
}

XDP
int drop(struct xdp_md *ctx)
{
	return ping(ctx) ? DROP : PASS;
}

XDP
int aborted(struct xdp_md *ctx)
{
	return ping(ctx) ? ABORTED : PASS;
}

XDP
int invalid(struct xdp_md *ctx)
{
	return ping(ctx) ? 77 : PASS;
}

/*
 * Makes a question of an answer, so that whoever has sent it answers once more. The high bit of the
 * sequence number says that this has been done: such an answer passes.
 */
INLINE int ask_again(struct xdp_md *ctx)
{
	u8 *frame = ping(ctx);
	u32 sum;

	if (!frame || frame[34] != 0 || frame[40] & 0x80)
		return 0;
	frame[34] = 8;
	frame[40] |= 0x80;
	/* What was added to the words goes out of the checksum. */
	sum = ((u32)frame[36] << 8 | frame[37]) + 0xffff - 0x0800 - 0x8000;
	sum = (sum & 0xffff) + (sum >> 16);
	frame[36] = sum >> 8;
	frame[37] = sum;
	swap(frame, frame + 6, 6);
	swap(frame + 26, frame + 30, 4);
	return 1;
}

XDP
int tx(struct xdp_md *ctx)
{
	return ask_again(ctx) ? TX : PASS;
}

XDP
int redirect(struct xdp_md *ctx)
{
	return ask_again(ctx) ? bpf_redirect(ctx->ingress_ifindex, 0) : PASS;
}

/* All frames are given back as they were, by way of the headroom. */
XDP
int head(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_head(ctx, -64) || bpf_xdp_adjust_head(ctx, 64))
		return DROP;
	return PASS;
}

char text[] __attribute__((section("license"), used)) = "GPL";
