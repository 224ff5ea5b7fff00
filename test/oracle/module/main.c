// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's DMA API on request, for one PCI device: what the tests compare the library with. A program writes
 * requests to /dev/userdma_oracle, many at a time, and then reads as many responses. Each request is one call of a
 * function of the kernel, or one access by the CPU or by the device to memory that these functions handle.
 *
 * The device itself does nothing. An access "by the device" looks the address up as the device's IOMMU would.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "oracle.h"

struct oracle oracle;

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
	case OP_MAP_RESOURCE:
		return map_resource(request, response);
	case OP_UNMAP_RESOURCE:
		return unmap_resource(request);
	case OP_REACH:
		return reach(request, response);
	case OP_IOVA_ALLOC:
		return iova_alloc(request, response);
	case OP_IOVA_LINK:
		return iova_link(request);
	case OP_IOVA_SYNC:
		return iova_sync(request);
	case OP_IOVA_UNLINK:
		return iova_unlink(request);
	case OP_IOVA_FREE:
		return iova_free(request);
	case OP_IOVA_DESTROY:
		return iova_destroy(request);
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
