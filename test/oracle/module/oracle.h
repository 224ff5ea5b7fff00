/* SPDX-License-Identifier: GPL-2.0 */
/* Requests and responses, and what a driver holds. test/oracle/protocol.ts describes the same to the program. */
#ifndef USERDMA_ORACLE_H
#define USERDMA_ORACLE_H

#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>

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
	OP_MAP_RESOURCE,
	OP_UNMAP_RESOURCE,
	OP_REACH,
	OP_IOVA_ALLOC,
	OP_IOVA_LINK,
	OP_IOVA_SYNC,
	OP_IOVA_UNLINK,
	OP_IOVA_FREE,
	OP_IOVA_DESTROY,
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
	enum { NOTHING, MAPPING, LIST, MEMORY, RESOURCE, IOVA } kind;
	/* Of a mapping or of memory. It stays when they have ended, for a driver that uses it once more. */
	dma_addr_t address;
	size_t size;
	enum dma_data_direction dir;
	unsigned long attrs;
	struct sg_table list;
	void *memory;
	struct page *pages;
	u32 allocator;
	struct dma_iova_state state;
	/* Bytes of the state that are linked, from its first one on. */
	size_t linked;
};

struct block {
	struct dma_pool *pool;
	void *memory;
	dma_addr_t address;
};

/* One batch: responses wait in here until they are read. */
struct oracle {
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
};

extern struct oracle oracle;

static inline struct device *device(void)
{
	return &oracle.pci->dev;
}

static inline bool inside(u32 buffer, u32 offset, u32 size)
{
	return buffer < BUFFERS && offset <= BUFFER_SIZE && size <= BUFFER_SIZE - offset;
}

static inline struct slot *slot_of(const struct request *request, int kind)
{
	struct slot *slot = request->slot < SLOTS ? &oracle.slots[request->slot] : NULL;

	return slot && slot->kind == kind ? slot : NULL;
}

/* bytes.c */
u32 fill(u8 *bytes, size_t size, u32 seed);
u32 hash(u32 value, const u8 *bytes, size_t size);
int access(const struct request *request, bool write, struct response *response);

/* mappings.c */
int map(const struct request *request, struct response *response);
int unmap(const struct request *request);
int sync(const struct request *request, bool for_device);
int map_list(const struct request *request, const struct element *elements, struct response *response,
	     struct segment *segments);
int end_list(const struct request *request);
int sync_list(const struct request *request, bool for_device);

/* registers.c */
int map_resource(const struct request *request, struct response *response);
int unmap_resource(const struct request *request);
int reach(const struct request *request, struct response *response);

/* iova.c */
int iova_alloc(const struct request *request, struct response *response);
int iova_link(const struct request *request);
int iova_sync(const struct request *request);
int iova_unlink(const struct request *request);
int iova_free(const struct request *request);
int iova_destroy(const struct request *request);

/* memory.c */
int allocate(const struct request *request, struct response *response);
int free_memory(const struct request *request);
int pool_create(const struct request *request);
int pool_destroy(u32 number);
int pool_alloc(const struct request *request, struct response *response);
int pool_free(const struct request *request);

#endif
