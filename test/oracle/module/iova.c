// SPDX-License-Identifier: GPL-2.0
/* Mapping in two steps: addresses are reserved, and parts of buffers are linked into them, one after the other. */
#include "oracle.h"

static phys_addr_t place(const struct request *request)
{
	return virt_to_phys((u8 *)oracle.buffers[request->buffer] + request->offset);
}

/* Buffer and offset are those of the first part, which the address has to start like. */
int iova_alloc(const struct request *request, struct response *response)
{
	struct slot *slot = slot_of(request, NOTHING);

	if (!slot)
		return -EBUSY;
	if (!inside(request->buffer, request->offset, 0) || request->size == 0)
		return -EINVAL;
	if (!dma_iova_try_alloc(device(), &slot->state, place(request), request->size))
		return -ENOMEM;
	slot->kind = IOVA;
	slot->address = slot->state.addr;
	slot->size = request->size;
	slot->linked = 0;
	response->values[0] = slot->address;
	return 0;
}

/* Links a part at `value`, which is what is linked already, or before it by mistake. */
int iova_link(const struct request *request)
{
	struct slot *slot = slot_of(request, IOVA);
	int error;

	if (!slot)
		return -ENOENT;
	if (!inside(request->buffer, request->offset, request->size) || request->size == 0 ||
	    request->value > slot->linked || request->size > slot->size - request->value)
		return -EINVAL;
	error = dma_iova_link(device(), &slot->state, place(request), request->value, request->size, request->dir,
			      request->attrs);
	if (!error)
		slot->linked = request->value + request->size;
	return error;
}

int iova_sync(const struct request *request)
{
	struct slot *slot = slot_of(request, IOVA);

	if (!slot || request->offset > slot->size || request->size > slot->size - request->offset)
		return -ENOENT;
	return dma_iova_sync(device(), &slot->state, request->offset, request->size);
}

/* Unlinks what was linked last. */
int iova_unlink(const struct request *request)
{
	struct slot *slot = slot_of(request, IOVA);

	if (!slot || request->size == 0 || request->offset + request->size != slot->linked)
		return -ENOENT;
	dma_iova_unlink(device(), &slot->state, request->offset, request->size, request->dir, request->attrs);
	slot->linked = request->offset;
	return 0;
}

int iova_destroy(const struct request *request)
{
	struct slot *slot = slot_of(request, IOVA);

	if (!slot)
		return -ENOENT;
	dma_iova_destroy(device(), &slot->state, slot->linked, request->dir, request->attrs);
	slot->kind = NOTHING;
	return 0;
}

int iova_free(const struct request *request)
{
	struct slot *slot = slot_of(request, IOVA);

	if (!slot)
		return -ENOENT;
	if (slot->linked)
		return -EBUSY;
	dma_iova_free(device(), &slot->state);
	slot->kind = NOTHING;
	return 0;
}
