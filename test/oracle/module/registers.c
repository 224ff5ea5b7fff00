// SPDX-License-Identifier: GPL-2.0
/* Registers of the device, BAR 0, mapped for its own DMA. */
#include <linux/iommu.h>

#include "oracle.h"

#define BAR 0

int map_resource(const struct request *request, struct response *response)
{
	struct slot *slot = slot_of(request, NOTHING);
	resource_size_t size = pci_resource_len(oracle.pci, BAR);
	dma_addr_t address;

	if (!slot)
		return -EBUSY;
	/* A wrong direction stops the kernel, and no bytes take an address that is never freed. */
	if (request->size == 0 || request->offset > size || request->size > size - request->offset ||
	    !valid_dma_direction(request->dir))
		return -EINVAL;
	address = dma_map_resource(device(), pci_resource_start(oracle.pci, BAR) + request->offset, request->size,
				   request->dir, request->attrs);
	if (dma_mapping_error(device(), address))
		return dma_mapping_error(device(), address);
	slot->kind = RESOURCE;
	slot->address = address;
	slot->size = request->size;
	slot->dir = request->dir;
	response->values[0] = address;
	response->values[1] = dma_need_sync(device(), address);
	return 0;
}

int unmap_resource(const struct request *request)
{
	struct slot *slot = slot_of(request, RESOURCE);

	if (!slot)
		return -ENOENT;
	dma_unmap_resource(device(), slot->address, slot->size, slot->dir, request->attrs);
	slot->kind = NOTHING;
	return 0;
}

/* The register that the device reaches at an offset of the mapping. */
int reach(const struct request *request, struct response *response)
{
	struct slot *slot = slot_of(request, RESOURCE);
	struct iommu_domain *domain = iommu_get_domain_for_dev(device());
	phys_addr_t phys;

	if (!slot || request->offset >= slot->size)
		return -ENOENT;
	phys = slot->address + request->offset;
	if (domain)
		phys = iommu_iova_to_phys(domain, phys);
	response->values[0] = phys - pci_resource_start(oracle.pci, BAR);
	return 0;
}
