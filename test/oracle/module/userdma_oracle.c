// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's DMA API on request, for one PCI device: what the tests compare the library with. A program writes
 * requests to /dev/userdma_oracle, many at a time, and then reads as many responses. Each request is one call of a
 * function of the kernel, or one access by the CPU or by the device to memory that these functions handle.
 *
 * The device itself does nothing. An access "by the device" looks the address up as the device's IOMMU would.
 *
 * test/oracle/protocol.ts describes the same structures to the program.
 */
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/iommu.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define BUFFERS 8
#define BUFFER_ORDER 7 /* 512 KiB, contiguous in memory */
#define BUFFER_SIZE (PAGE_SIZE << BUFFER_ORDER)
#define SLOTS 256
#define POOLS 16
#define BLOCKS 4096
#define MOST_ELEMENTS 64
#define MOST_BYTES (4 << 20)

enum operation {
	OP_SET_MASK = 1,
	OP_SET_COHERENT_MASK,
	OP_SET_LIMITS,
	OP_READ_LIMITS,
	OP_FILL,
	OP_HASH,
	OP_MAP,
	OP_UNMAP,
	OP_SYNC_FOR_CPU,
	OP_SYNC_FOR_DEVICE,
	OP_MAP_LIST,
	OP_UNMAP_LIST,
	OP_SYNC_LIST_FOR_CPU,
	OP_SYNC_LIST_FOR_DEVICE,
	OP_DEVICE_WRITE,
	OP_DEVICE_HASH,
	OP_ALLOC,
	OP_FREE,
	OP_POOL_CREATE,
	OP_POOL_DESTROY,
	OP_POOL_ALLOC,
	OP_POOL_FREE,
};

/* How an allocation was made: the `arg` of OP_ALLOC. */
enum { COHERENT, NONCOHERENT, PAGES };

struct request {
	__u32 op;
	__u32 slot;
	__u32 buffer;
	__u32 offset;
	__u32 size;
	__u32 dir;
	__u32 attrs;
	__u32 arg;
	__u64 value;
	/* Elements that follow, of OP_MAP_LIST. */
	__u32 count;
	__u32 unused;
};

struct element {
	__u32 buffer;
	__u32 offset;
	__u32 length;
	__u32 unused;
};

struct response {
	__s32 error;
	/* Segments that follow, of OP_MAP_LIST. */
	__u32 count;
	__u64 values[4];
};

struct segment {
	__u64 address;
	__u64 length;
};

struct slot {
	enum { NOTHING, MAPPING, LIST, MEMORY } kind;
	/* Of a mapping or of memory. It stays when they have ended, for a driver that uses it once more. */
	dma_addr_t address;
	size_t size;
	enum dma_data_direction dir;
	unsigned long attrs;
	struct sg_table list;
	void *memory;
	struct page *pages;
	u32 allocator;
};

struct block {
	struct dma_pool *pool;
	void *memory;
	dma_addr_t address;
};

/* One batch: responses wait in here until they are read. */
static struct oracle {
	struct mutex lock;
	struct pci_dev *pci;
	void *buffers[BUFFERS];
	struct slot slots[SLOTS];
	struct dma_pool *pools[POOLS];
	size_t pool_sizes[POOLS];
	struct block blocks[BLOCKS];
	u8 *requests;
	u8 *responses;
	size_t answered;
} oracle;

static struct device *device(void)
{
	return &oracle.pci->dev;
}

/* The bytes of the pattern with this seed. Returns the seed of the bytes that follow. */
static u32 fill(u8 *bytes, size_t size, u32 seed)
{
	size_t i;

	for (i = 0; i < size; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = seed >> 24;
	}
	return seed;
}

static u32 hash(u32 value, const u8 *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		value = value * 31 + bytes[i];
	return value;
}

static bool inside(u32 buffer, u32 offset, u32 size)
{
	return buffer < BUFFERS && offset <= BUFFER_SIZE && size <= BUFFER_SIZE - offset;
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

static struct slot *slot_of(const struct request *request, int kind)
{
	struct slot *slot = request->slot < SLOTS ? &oracle.slots[request->slot] : NULL;

	return slot && slot->kind == kind ? slot : NULL;
}

static int map(const struct request *request, struct response *response)
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

static int unmap(const struct request *request)
{
	struct slot *slot = mapping_of(request);

	if (!slot)
		return -ENOENT;
	dma_unmap_single_attrs(device(), slot->address, slot->size, slot->dir, request->attrs);
	slot->kind = NOTHING;
	return 0;
}

static int sync(const struct request *request, bool for_device)
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

static int map_list(const struct request *request, const struct element *elements, struct response *response,
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

static int end_list(const struct request *request)
{
	struct slot *slot = slot_of(request, LIST);

	if (!slot)
		return -ENOENT;
	dma_unmap_sgtable(device(), &slot->list, slot->dir, request->attrs);
	sg_free_table(&slot->list);
	slot->kind = NOTHING;
	return 0;
}

static int sync_list(const struct request *request, bool for_device)
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

/* [offset, offset + size) of a mapping, of memory, or of a list as if its segments were one. */
static int access(const struct request *request, bool write, struct response *response)
{
	struct slot *slot = request->slot < SLOTS ? &oracle.slots[request->slot] : NULL;
	size_t offset = request->offset, size = request->size;
	u32 value = request->value;
	struct scatterlist *sg;
	int error = 0;
	int i;

	if (!slot || slot->kind == NOTHING)
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

static int allocate(const struct request *request, struct response *response)
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

static int free_memory(const struct request *request)
{
	struct slot *slot = slot_of(request, MEMORY);

	if (!slot)
		return -ENOENT;
	release(slot);
	return 0;
}

static int pool_create(const struct request *request)
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

static int pool_destroy(u32 number)
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

static int pool_alloc(const struct request *request, struct response *response)
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

static int pool_free(const struct request *request)
{
	struct block *block = request->buffer < BLOCKS ? &oracle.blocks[request->buffer] : NULL;

	if (!block || !block->pool)
		return -ENOENT;
	dma_pool_free(block->pool, block->memory, block->address);
	block->pool = NULL;
	return 0;
}

static int set_limits(const struct request *request)
{
	dma_set_max_seg_size(device(), request->size);
	dma_set_seg_boundary(device(), request->value);
	dma_set_min_align_mask(device(), request->offset);
	return 0;
}

static int read_limits(const struct request *request, struct response *response)
{
	u64 *values = response->values;

	values[0] = dma_get_required_mask(device());
	values[1] = dma_max_mapping_size(device());
	values[2] = dma_opt_mapping_size(device());
	values[3] = dma_get_merge_boundary(device());
	return dma_addressing_limited(device());
}

static int answer(const struct request *request, const struct element *elements, struct response *response,
		  struct segment *segments)
{
	u8 *bytes;

	switch (request->op) {
	case OP_SET_MASK:
		return dma_set_mask(device(), request->value);
	case OP_SET_COHERENT_MASK:
		return dma_set_coherent_mask(device(), request->value);
	case OP_SET_LIMITS:
		return set_limits(request);
	case OP_READ_LIMITS:
		return read_limits(request, response);
	case OP_FILL:
	case OP_HASH:
		if (!inside(request->buffer, request->offset, request->size))
			return -EINVAL;
		bytes = (u8 *)oracle.buffers[request->buffer] + request->offset;
		if (request->op == OP_FILL)
			fill(bytes, request->size, request->value);
		else
			response->values[0] = hash(0, bytes, request->size);
		return 0;
	case OP_MAP:
		return map(request, response);
	case OP_UNMAP:
		return unmap(request);
	case OP_SYNC_FOR_CPU:
	case OP_SYNC_FOR_DEVICE:
		return sync(request, request->op == OP_SYNC_FOR_DEVICE);
	case OP_MAP_LIST:
		return map_list(request, elements, response, segments);
	case OP_UNMAP_LIST:
		return end_list(request);
	case OP_SYNC_LIST_FOR_CPU:
	case OP_SYNC_LIST_FOR_DEVICE:
		return sync_list(request, request->op == OP_SYNC_LIST_FOR_DEVICE);
	case OP_DEVICE_WRITE:
	case OP_DEVICE_HASH:
		return access(request, request->op == OP_DEVICE_WRITE, response);
	case OP_ALLOC:
		return allocate(request, response);
	case OP_FREE:
		return free_memory(request);
	case OP_POOL_CREATE:
		return pool_create(request);
	case OP_POOL_DESTROY:
		return pool_destroy(request->slot);
	case OP_POOL_ALLOC:
		return pool_alloc(request, response);
	case OP_POOL_FREE:
		return pool_free(request);
	}
	return -EOPNOTSUPP;
}

/* Answers `size` bytes of requests. */
static int answer_all(size_t size)
{
	size_t at = 0;

	oracle.answered = 0;
	while (at < size) {
		const struct request *request = (void *)(oracle.requests + at);
		const struct element *elements = (void *)(request + 1);
		struct response *response = (void *)(oracle.responses + oracle.answered);
		struct segment *segments = (void *)(response + 1);
		size_t room = sizeof(*response) + MOST_ELEMENTS * sizeof(*segments);

		at += sizeof(*request);
		if (at > size || request->count > MOST_ELEMENTS || request->count * sizeof(*elements) > size - at)
			return -EINVAL;
		at += request->count * sizeof(*elements);
		if (room > MOST_BYTES - oracle.answered)
			return -E2BIG;
		memset(response, 0, sizeof(*response));
		response->error = answer(request, elements, response, segments);
		oracle.answered += sizeof(*response) + response->count * sizeof(*segments);
		cond_resched();
	}
	return 0;
}

static ssize_t oracle_write(struct file *file, const char __user *from, size_t size, loff_t *position)
{
	int error;

	if (size > MOST_BYTES)
		return -E2BIG;
	mutex_lock(&oracle.lock);
	error = copy_from_user(oracle.requests, from, size) ? -EFAULT : answer_all(size);
	mutex_unlock(&oracle.lock);
	return error ? error : size;
}

static ssize_t oracle_read(struct file *file, char __user *to, size_t size, loff_t *position)
{
	int error;

	mutex_lock(&oracle.lock);
	size = min(size, oracle.answered);
	error = copy_to_user(to, oracle.responses, size) ? -EFAULT : 0;
	mutex_unlock(&oracle.lock);
	return error ? error : size;
}

static const struct file_operations oracle_operations = {
	.owner = THIS_MODULE,
	.read = oracle_read,
	.write = oracle_write,
};

static struct miscdevice oracle_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "userdma_oracle",
	.fops = &oracle_operations,
};

static void free_buffers(void)
{
	int i;

	for (i = 0; i < BUFFERS; i++)
		free_pages((unsigned long)oracle.buffers[i], BUFFER_ORDER);
	vfree(oracle.requests);
	vfree(oracle.responses);
}

static int oracle_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	int error, i;

	if (oracle.pci)
		return -EBUSY;
	error = pcim_enable_device(pci);
	if (error)
		return error;
	pci_set_master(pci);
	oracle.requests = vmalloc(MOST_BYTES);
	oracle.responses = vmalloc(MOST_BYTES);
	error = oracle.requests && oracle.responses ? 0 : -ENOMEM;
	for (i = 0; i < BUFFERS; i++) {
		oracle.buffers[i] = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, BUFFER_ORDER);
		if (!oracle.buffers[i])
			error = -ENOMEM;
	}
	oracle.pci = pci;
	if (!error)
		error = misc_register(&oracle_misc);
	if (error) {
		free_buffers();
		oracle.pci = NULL;
	}
	return error;
}

/* Mappings are left to dma-debug, which reports them. */
static void oracle_remove(struct pci_dev *pci)
{
	int i;

	misc_deregister(&oracle_misc);
	for (i = 0; i < POOLS; i++)
		pool_destroy(i);
	memset(oracle.slots, 0, sizeof(oracle.slots));
	free_buffers();
	oracle.pci = NULL;
}

static const struct pci_device_id oracle_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) }, /* QEMU's edu */
	{ }
};
MODULE_DEVICE_TABLE(pci, oracle_ids);

static struct pci_driver oracle_driver = {
	.name = "userdma_oracle",
	.id_table = oracle_ids,
	.probe = oracle_probe,
	.remove = oracle_remove,
};

static int __init oracle_init(void)
{
	mutex_init(&oracle.lock);
	return pci_register_driver(&oracle_driver);
}
module_init(oracle_init);

static void __exit oracle_exit(void)
{
	pci_unregister_driver(&oracle_driver);
}
module_exit(oracle_exit);

MODULE_DESCRIPTION("The kernel's DMA API on request, for tests of userdma");
MODULE_LICENSE("GPL");
