// SPDX-License-Identifier: GPL-2.0
/* Bytes as the CPU and as the device see them. */
#include <linux/iommu.h>

#include "oracle.h"

/* The bytes of the pattern with this seed. Returns the seed of the bytes that follow. */
u32 fill(u8 *bytes, size_t size, u32 seed)
{
	size_t i;

	for (i = 0; i < size; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = seed >> 24;
	}
	return seed;
}

u32 hash(u32 value, const u8 *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		value = value * 31 + bytes[i];
	return value;
}

/* What the device finds at an address: the rest of that page. */
static u8 *seen_by_device(dma_addr_t address, size_t *size)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(device());
	phys_addr_t phys = domain ? iommu_iova_to_phys(domain, address) : address;

	*size = PAGE_SIZE - offset_in_page(address);
	return phys ? phys_to_virt(phys) : NULL;
}

static int device_access(dma_addr_t address, size_t size, bool write, u32 *value)
{
	while (size > 0) {
		size_t length;
		u8 *bytes = seen_by_device(address, &length);

		if (!bytes)
			return -EFAULT;
		length = min(length, size);
		*value = write ? fill(bytes, length, *value) : hash(*value, bytes, length);
		address += length;
		size -= length;
	}
	return 0;
}

/* [offset, offset + size) of a mapping, of memory, or of a list as if its segments were one. */
int access(const struct request *request, bool write, struct response *response)
{
	struct slot *slot = request->slot < SLOTS ? &oracle.slots[request->slot] : NULL;
	size_t offset = request->offset, size = request->size;
	u32 value = request->value;
	struct scatterlist *sg;
	int error = 0;
	int i;

	if (!slot || slot->kind == NOTHING || slot->kind == RESOURCE)
		return -ENOENT;
	if (slot->kind == LIST) {
		for_each_sgtable_dma_sg(&slot->list, sg, i) {
			size_t length = sg_dma_len(sg);

			if (offset >= length) {
				offset -= length;
				continue;
			}
			length = min(length - offset, size);
			error = device_access(sg_dma_address(sg) + offset, length, write, &value);
			if (error)
				return error;
			offset = 0;
			size -= length;
		}
	} else {
		error = device_access(slot->address + offset, size, write, &value);
	}
	response->values[0] = value;
	return error;
}
