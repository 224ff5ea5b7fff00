// SPDX-License-Identifier: GPL-2.0
/* Memory of the device, and pools. */
#include "oracle.h"

int allocate(const struct request *request, struct response *response)
{
	struct slot *slot = slot_of(request, NOTHING);
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;
	dma_addr_t address = 0;

	if (!slot)
		return -EBUSY;
	slot->memory = NULL;
	slot->pages = NULL;
	switch (request->arg) {
	case COHERENT:
		slot->memory = dma_alloc_coherent(device(), request->size, &address, gfp);
		break;
	case NONCOHERENT:
		slot->memory = dma_alloc_noncoherent(device(), request->size, &address, request->dir, gfp);
		break;
	case PAGES:
		slot->pages = dma_alloc_pages(device(), request->size, &address, request->dir, gfp);
		slot->memory = slot->pages ? page_address(slot->pages) : NULL;
		break;
	}
	if (!slot->memory)
		return -ENOMEM;
	slot->kind = MEMORY;
	slot->address = address;
	slot->size = request->size;
	slot->dir = request->dir;
	slot->allocator = request->arg;
	response->values[0] = address;
	response->values[1] = !memchr_inv(slot->memory, 0, PAGE_ALIGN(request->size));
	/* What the next owner must not find. */
	memset(slot->memory, 0x5a, request->size);
	return 0;
}

static void release(struct slot *slot)
{
	switch (slot->allocator) {
	case COHERENT:
		dma_free_coherent(device(), slot->size, slot->memory, slot->address);
		break;
	case NONCOHERENT:
		dma_free_noncoherent(device(), slot->size, slot->memory, slot->address, slot->dir);
		break;
	case PAGES:
		dma_free_pages(device(), slot->size, slot->pages, slot->address, slot->dir);
		break;
	}
	slot->kind = NOTHING;
}

int free_memory(const struct request *request)
{
	struct slot *slot = slot_of(request, MEMORY);

	if (!slot)
		return -ENOENT;
	release(slot);
	return 0;
}

int pool_create(const struct request *request)
{
	struct dma_pool *pool;

	if (request->slot >= POOLS || oracle.pools[request->slot])
		return -EBUSY;
	pool = dma_pool_create("oracle", device(), request->size, request->offset, request->value);
	if (!pool)
		return -EINVAL;
	oracle.pools[request->slot] = pool;
	oracle.pool_sizes[request->slot] = request->size;
	return 0;
}

int pool_destroy(u32 number)
{
	struct dma_pool *pool = number < POOLS ? oracle.pools[number] : NULL;
	int i;

	if (!pool)
		return -ENOENT;
	for (i = 0; i < BLOCKS; i++) {
		struct block *block = &oracle.blocks[i];

		if (block->pool != pool)
			continue;
		dma_pool_free(pool, block->memory, block->address);
		block->pool = NULL;
	}
	dma_pool_destroy(pool);
	oracle.pools[number] = NULL;
	return 0;
}

int pool_alloc(const struct request *request, struct response *response)
{
	struct dma_pool *pool = request->slot < POOLS ? oracle.pools[request->slot] : NULL;
	struct block *block = request->buffer < BLOCKS ? &oracle.blocks[request->buffer] : NULL;
	gfp_t gfp = GFP_KERNEL | (request->arg ? __GFP_ZERO : 0);
	size_t size;

	if (!pool)
		return -ENOENT;
	if (!block || block->pool)
		return -EBUSY;
	block->memory = dma_pool_alloc(pool, gfp, &block->address);
	if (!block->memory)
		return -ENOMEM;
	block->pool = pool;
	size = oracle.pool_sizes[request->slot];
	response->values[0] = block->address;
	response->values[1] = !memchr_inv(block->memory, 0, size);
	memset(block->memory, 0x5a, size);
	return 0;
}

int pool_free(const struct request *request)
{
	struct block *block = request->buffer < BLOCKS ? &oracle.blocks[request->buffer] : NULL;

	if (!block || !block->pool)
		return -ENOENT;
	dma_pool_free(block->pool, block->memory, block->address);
	block->pool = NULL;
	return 0;
}
