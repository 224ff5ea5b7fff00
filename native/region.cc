#include "region.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

#include "addon.h"

namespace userdma {

namespace {

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/** Size of the huge pages that MFD_HUGETLB takes, or 0. */
uint64_t HugePageBytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> info(
      fopen("/proc/meminfo", "re"), [](FILE* file) { return file == nullptr ? 0 : fclose(file); });
  char line[128];
  unsigned long kib = 0;  // NOLINT(runtime/int): what %lu takes
  while (info && fgets(line, sizeof line, info.get()) != nullptr) {
    if (sscanf(line, "Hugepagesize: %lu kB", &kib) == 1) return uint64_t{kib} * 1024;
  }
  return 0;
}

/** A sealed memfd of `size` bytes with all its pages present, mapped. Returns 0 or -errno. */
int Create(uint64_t size, bool hugetlb, std::shared_ptr<Mapping>* out) {
  auto mapping = std::make_shared<Mapping>();
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB : 0);
  mapping->fd.Reset(memfd_create("userdma", flags));
  const int fd = mapping->fd.get();
  if (fd < 0) return -errno;
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) return -errno;
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -errno;
  // Takes the pages now, and reports when there are none: populating alone would fail in silence.
  int failed;
  do {
    failed = fallocate(fd, 0, 0, static_cast<off_t>(size));
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) return errno == ENOSPC ? -ENOMEM : -errno;
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (base == MAP_FAILED) return -errno;
  mapping->base = static_cast<char*>(base);
  mapping->size = size;
  *out = std::move(mapping);
  return 0;
}

napi_value PageSize(Call& call) { return call.Return(static_cast<int64_t>(PageBytes())); }

napi_value RegionCreate(Call& call) {
  uint64_t bytes;
  bool hugetlb;
  if (!call.Unsigned(0, Call::kMaxSafeInteger, &bytes) || bytes == 0 || !call.Boolean(1, &hugetlb)) {
    return call.Return(-EINVAL);
  }
  const uint64_t page = hugetlb ? HugePageBytes() : PageBytes();
  if (page == 0) return call.Return(-ENOMEM);
  const uint64_t size = RoundUp(bytes, page);
  // Huge pages are counted by the kernel; ordinary ones would be handed out until it kills somebody.
  if (!hugetlb && size > uv_get_available_memory()) return call.Return(-ENOMEM);
  std::shared_ptr<Mapping> mapping;
  const int error = Create(size, hugetlb, &mapping);
  if (error != 0) return call.Return(error);
  const Mapping* raw = mapping.get();
  const Handle handle = call.addon->regions.Add(std::move(mapping));
  if (handle == 0) return call.Return(-ENOMEM);
  call.addon->live.emplace(raw->base, raw);
  return call.Return(handle);
}

napi_value RegionSize(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return call.Return(mapping == nullptr ? -EBADF : static_cast<int64_t>(mapping->size));
}

napi_value RegionFd(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return call.Return(mapping == nullptr ? -EBADF : mapping->fd.get());
}

/**
 * The backing store of a carved ArrayBuffer holds a share of the mapping. V8 counts its bytes as garbage it
 * could collect; taking them off that count (napi_adjust_external_memory) would spare some collections, but
 * Node 24 and 26 abort when the count drops below zero, as it may between the death of a buffer and its
 * finalizer.
 */
using Carving = std::shared_ptr<Mapping>;

void FinalizeCarving(napi_env, void*, void* carving) { delete static_cast<Carving*>(carving); }

napi_value RegionCarve(Call& call) {
  std::shared_ptr<Mapping> mapping = call.addon->regions.Share(call.GetHandle(0));
  if (mapping == nullptr) return call.Return(-EBADF);
  const uint64_t size = mapping->size;
  uint64_t offset;
  uint64_t length;
  if (!call.Unsigned(1, size, &offset) || !call.Unsigned(2, size, &length)) return call.Return(-EINVAL);
  if (length == 0 || offset % PageBytes() != 0 || length > size - offset) return call.Return(-EINVAL);
  char* const start = mapping->base + offset;
  memset(start, 0, RoundUp(length, PageBytes()));

  Carving* const carving = new Carving(std::move(mapping));  // the finalizer's, once the buffer is made
  napi_value buffer = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(call.env, start, length, FinalizeCarving, carving, &buffer);
  if (status == napi_ok) return buffer;
  if (status == napi_no_external_buffers_allowed || status == napi_cannot_run_js) {
    delete carving;  // refused before anybody took it
    return call.Return(-EOPNOTSUPP);
  }
  napi_value exception;  // Node 20 beyond 4 GiB: it throws, and has already run the finalizer
  napi_get_and_clear_last_exception(call.env, &exception);
  return call.Return(-ENOMEM);
}

napi_value RegionRevoke(Call& call) {
  const Handle handle = call.GetHandle(0);
  Mapping* mapping = call.addon->regions.Get(handle);
  if (mapping == nullptr) return call.Return(-EBADF);
  const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (mmap(mapping->base, mapping->size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
    return call.Return(-errno);
  }
  mapping->fd.Reset();
  call.addon->live.erase(mapping->base);
  call.addon->regions.Remove(handle);
  return call.Return(0);
}

napi_value Detach(Call& call) {
  bool is_buffer = false;
  bool detached = false;
  if (napi_is_arraybuffer(call.env, call[0], &is_buffer) != napi_ok || !is_buffer)
    return call.Return(-EINVAL);
  const napi_node_version* node;
  if (napi_get_node_version(call.env, &node) != napi_ok || node->major >= 22) return call.Return(-EOPNOTSUPP);
  if (napi_is_detached_arraybuffer(call.env, call[0], &detached) != napi_ok) return call.Return(-EINVAL);
  if (detached) return call.Return(0);
  return call.Return(napi_detach_arraybuffer(call.env, call[0]) == napi_ok ? 1 : -EINVAL);
}

}  // namespace

Mapping::~Mapping() {
  if (base != nullptr) munmap(base, size);
}

const Mapping* Addon::FindRegion(const void* pointer, size_t length) const {
  const char* const start = static_cast<const char*>(pointer);
  const auto after = live.upper_bound(start);
  if (after == live.begin()) return nullptr;
  const Mapping* mapping = std::prev(after)->second;
  const size_t offset = static_cast<size_t>(start - mapping->base);
  return offset < mapping->size && length <= mapping->size - offset ? mapping : nullptr;
}

void InitRegion(Napi::Env env, Napi::Object exports) {
  Export<PageSize, 0>(env, exports, "pageSize");
  Export<RegionCreate>(env, exports, "regionCreate");
  Export<RegionSize>(env, exports, "regionSize");
  Export<RegionFd>(env, exports, "regionFd");
  Export<RegionCarve>(env, exports, "regionCarve");
  Export<RegionRevoke>(env, exports, "regionRevoke");
  Export<Detach>(env, exports, "detach");
}

}  // namespace userdma
