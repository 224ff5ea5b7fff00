// SPDX-License-Identifier: GPL-2.0
/* Streaming mappings, of one buffer and of lists. */
#include "oracle.h"

int map(const struct request *request, struct response *response)
{
	struct slot *slot = slot_of(request, NOTHING);
	dma_addr_t address;
	u8 *bytes;

	if (!slot)
		return -EBUSY;
	if (!inside(request->buffer, request->offset, request->size) || request->size == 0)
		return -EINVAL;
	bytes = (u8 *)oracle.buffers[request->buffer] + request->offset;
	/* Both functions are the same to a driver. */
	if (request->arg)
		address = dma_map_page_attrs(device(), virt_to_page(bytes), offset_in_page(bytes), request->size,
					     request->dir, request->attrs);
	else
		address = dma_map_single_attrs(device(), bytes, request->size, request->dir, request->attrs);
	if (dma_mapping_error(device(), address))
		return dma_mapping_error(device(), address);
	slot->kind = MAPPING;
	slot->address = address;
	slot->size = request->size;
	slot->dir = request->dir;
	slot->attrs = request->attrs;
	response->values[0] = address;
	response->values[1] = dma_need_sync(device(), address);
	return 0;
}

/* With `arg`, a mapping that has ended is used once more. */
static struct slot *mapping_of(const struct request *request)
{
	if (request->arg && request->slot < SLOTS && oracle.slots[request->slot].size > 0)
		return &oracle.slots[request->slot];
	return slot_of(request, MAPPING);
}

int unmap(const struct request *request)
{
	struct slot *slot = mapping_of(request);

	if (!slot)
		return -ENOENT;
	dma_unmap_single_attrs(device(), slot->address, slot->size, slot->dir, request->attrs);
	slot->kind = NOTHING;
	return 0;
}

int sync(const struct request *request, bool for_device)
{
	struct slot *slot = mapping_of(request);

	if (!slot)
		return -ENOENT;
	if (for_device)
		dma_sync_single_range_for_device(device(), slot->address, request->offset, request->size, slot->dir);
	else
		dma_sync_single_range_for_cpu(device(), slot->address, request->offset, request->size, slot->dir);
	return 0;
}

int map_list(const struct request *request, const struct element *elements, struct response *response,
	     struct segment *segments)
{
	struct slot *slot = slot_of(request, NOTHING);
	struct scatterlist *sg;
	int error;
	u32 i;

	if (!slot)
		return -EBUSY;
	if (request->count == 0)
		return -EINVAL;
	for (i = 0; i < request->count; i++) {
		const struct element *element = &elements[i];

		if (!inside(element->buffer, element->offset, element->length) || element->length == 0)
			return -EINVAL;
	}
	error = sg_alloc_table(&slot->list, request->count, GFP_KERNEL);
	if (error)
		return error;
	for_each_sg(slot->list.sgl, sg, request->count, i)
		sg_set_buf(sg, (u8 *)oracle.buffers[elements[i].buffer] + elements[i].offset, elements[i].length);
	error = dma_map_sgtable(device(), &slot->list, request->dir, request->attrs);
	if (error) {
		sg_free_table(&slot->list);
		return error;
	}
	slot->kind = LIST;
	slot->dir = request->dir;
	slot->attrs = request->attrs;
	for_each_sg(slot->list.sgl, sg, slot->list.nents, i) {
		segments[i].address = sg_dma_address(sg);
		segments[i].length = sg_dma_len(sg);
	}
	response->count = slot->list.nents;
	return 0;
}

int end_list(const struct request *request)
{
	struct slot *slot = slot_of(request, LIST);

	if (!slot)
		return -ENOENT;
	dma_unmap_sgtable(device(), &slot->list, slot->dir, request->attrs);
	sg_free_table(&slot->list);
	slot->kind = NOTHING;
	return 0;
}

int sync_list(const struct request *request, bool for_device)
{
	struct slot *slot = slot_of(request, LIST);

	if (!slot)
		return -ENOENT;
	if (for_device)
		dma_sync_sgtable_for_device(device(), &slot->list, slot->dir);
	else
		dma_sync_sgtable_for_cpu(device(), &slot->list, slot->dir);
	return 0;
}
