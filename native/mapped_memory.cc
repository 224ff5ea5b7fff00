#include "mapped_memory.h"

#include <unistd.h>

#include "backing_store.h"
#include "mmio.h"

namespace userdma {
namespace {

/**
 * vfioPageOffset(buffer, pageSize): the offset of the first byte in its page. `pageSize` is a power of
 * two.
 */
napi_value PageOffset(Call& call) {
  void* data = nullptr;
  size_t length = 0;
  uint64_t page;
  if (!call.Buffer(0, &data, &length) || length == 0) return call.Return(-EINVAL);
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &page) || page == 0 || (page & (page - 1)) != 0) {
    return call.Return(-EINVAL);
  }
  return call.Return(static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) & (page - 1)));
}

/** vfioCanMapForeign(): 1 if memory that is in none of our regions can be mapped, else 0. */
napi_value CanMapForeign(Call& call) {
  napi_value result = nullptr;
  napi_get_boolean(call.env, call.addon->runtime.get_backing_store != nullptr, &result);
  return result;
}

bool OffsetAndSize(const Call& call, size_t index, uint64_t* offset, uint64_t* size) {
  return call.Unsigned(index, Call::kMaxSafeInteger, offset) &&
         call.Unsigned(index + 1, Call::kMaxSafeInteger, size) && *size != 0;
}

/** The part of `window` that is mapped into this process and holds all of [offset, offset + size), or
 * nullptr. */
const MmioArea* MappedArea(const MmioWindow& window, uint64_t offset, uint64_t size) {
  for (const MmioArea& area : window.areas) {
    const uint64_t inside = offset - area.offset;  // huge when below the area
    if (inside < area.size && size <= area.size - inside) return &area;
  }
  return nullptr;
}

}  // namespace

void Release(HeldMemory& held, uint64_t iova, uint64_t size) {
  held.erase(held.lower_bound(iova), held.lower_bound(iova + size));
}

int BufferMemory(const Call& call, size_t index, MappedMemory* out) {
  void* data = nullptr;
  size_t length = 0;
  uint64_t offset;
  if (!OffsetAndSize(call, index + 1, &offset, &out->size)) return -EINVAL;
  if (!call.Buffer(index, &data, &length) || offset >= length) return -EINVAL;
  out->start = static_cast<char*>(data) + offset;
  out->region = call.addon->FindRegion(out->start, out->size);
  const bool ours = out->region != nullptr;
  if (out->size > length - offset) {
    const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t whole = (length + page - 1) / page * page;
    if (!ours || out->size > whole - offset) return -EINVAL;
  }
  if (ours) return 0;
  out->held = HoldBackingStore(call.addon->runtime, call[index]);
  return out->held == nullptr ? -EOPNOTSUPP : 0;
}

int WindowMemory(const Call& call, size_t index, MappedMemory* out) {
  const MmioWindow* window = call.addon->windows.Get(call.GetHandle(index));
  if (window == nullptr) return -EBADF;
  uint64_t offset;
  if (!OffsetAndSize(call, index + 1, &offset, &out->size)) return -EINVAL;
  const MmioArea* area = MappedArea(*window, offset, out->size);
  if (area == nullptr) return -EINVAL;
  out->start = static_cast<char*>(area->memory.get()) + (offset - area->offset);
  out->held = area->memory;
  return 0;
}

void InitMappedMemory(napi_env env, napi_value exports) {
  Export<PageOffset>(env, exports, "vfioPageOffset");
  Export<CanMapForeign>(env, exports, "vfioCanMapForeign");
}

}  // namespace userdma
