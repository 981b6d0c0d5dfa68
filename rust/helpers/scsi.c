// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-mapping.h>

/* Nothing here may need the mid layer, which may be a module. */

__rust_helper void
rust_helper_dma_set_min_align_mask(struct device *dev, unsigned int min_align_mask)
{
	dma_set_min_align_mask(dev, min_align_mask);
}
