#include "region.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

#include "addon.h"
#include "backing_store.h"

namespace userdma {

namespace {

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

constexpr uint64_t kMaxHugePage = uint64_t{1} << 40;

/** The value of a line of /proc/meminfo in bytes, e.g. `Hugepagesize`; 0 if the line is missing. */
uint64_t MemoryFact(const char* name) {
  const std::unique_ptr<FILE, int (*)(FILE*)> info(
      fopen("/proc/meminfo", "re"), [](FILE* file) { return file == nullptr ? 0 : fclose(file); });
  const size_t length = strlen(name);
  char line[128];
  unsigned long kib = 0;  // NOLINT(runtime/int): what %lu takes
  while (info && fgets(line, sizeof line, info.get()) != nullptr) {
    if (strncmp(line, name, length) != 0 || line[length] != ':') continue;
    if (sscanf(line + length + 1, "%lu kB", &kib) == 1) return uint64_t{kib} * 1024;
  }
  return 0;
}

/** The size of the huge pages that MFD_HUGETLB uses by default, or 0. */
uint64_t DefaultHugePage() { return MemoryFact("Hugepagesize"); }

/** The number of available bytes; 0 if it is not known. libuv knows the limits of a container, too. */
uint64_t AvailableMemory(const Runtime& runtime) {
  return runtime.libuv ? uv_get_available_memory() : MemoryFact("MemAvailable");
}

/** The page size that argument `index` asks for: false, true or a number. 0 or -errno. */
int PageOf(const Call& call, size_t index, uint64_t* page) {
  bool huge;
  if (call.Boolean(index, &huge)) {
    *page = huge ? DefaultHugePage() : PageBytes();
    return *page == 0 ? -ENODEV : 0;
  }
  const bool power = call.Unsigned(index, kMaxHugePage, page) && *page != 0 && (*page & (*page - 1)) == 0;
  return power && *page > PageBytes() ? 0 : -EINVAL;
}

/** MFD_HUGE_2MB and the like: the logarithm of the size in the upper bits. */
unsigned HugeFlags(uint64_t page) {
  const unsigned logarithm = static_cast<unsigned>(__builtin_ctzll(page));
  return MFD_HUGETLB | logarithm << MFD_HUGE_SHIFT;
}

/** Allocates the pages, and reports if there are none. 0 or -errno. */
int Allocate(int fd, uint64_t offset, uint64_t length) {
  int failed;
  do {
    failed = fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) return errno == ENOSPC ? -ENOMEM : -errno;
  return 0;
}

constexpr uint64_t kMaxNode = 1023;  // the most that a kernel can be built for
constexpr uint64_t kAnyNode = kMaxNode + 1;

/** The node of argument `index`, or kAnyNode if it is undefined. 0 or -errno. */
int NodeOf(const Call& call, size_t index, uint64_t* node) {
  napi_valuetype type = napi_undefined;
  if (napi_typeof(call.env, call[index], &type) == napi_ok && type == napi_undefined) {
    *node = kAnyNode;
    return 0;
  }
  return call.Unsigned(index, kMaxNode, node) ? 0 : -EINVAL;
}

/**
 * The file takes its pages from `node` while that has some. The policy belongs to the file, so it holds for
 * every way in which its pages are allocated later. A failure changes nothing: a container may forbid the
 * choice, and a kernel may know no nodes.
 */
void Prefer(int fd, uint64_t size, uint64_t page, uint64_t node) {
  constexpr size_t bits = 8 * sizeof(unsigned long);  // NOLINT(runtime/int): what mbind takes
  unsigned long mask[(kMaxNode + 1) / bits] = {};     // NOLINT(runtime/int)
  mask[node / bits] = 1ul << (node % bits);
  void* const base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return;
  // The kernel reads one bit less than it is told.
  const bool chosen = syscall(SYS_mbind, base, size, MPOL_PREFERRED, mask, kMaxNode + 2, 0) == 0;
  // fallocate of huge pages does not ask the policy, and a page fault does. The mapping has reserved them
  // all.
  if (chosen && page != PageBytes()) {
    for (uint64_t at = 0; at < size; at += page) static_cast<volatile char*>(base)[at] = 0;
  }
  munmap(base, size);
}

/** A sealed memfd of `size` bytes with all its pages present, mapped. Returns 0 or -errno. */
int Create(uint64_t size, uint64_t page, uint64_t node, std::shared_ptr<Mapping>* out) {
  auto mapping = std::make_shared<Mapping>();
  const unsigned huge = page == PageBytes() ? 0 : HugeFlags(page);
  mapping->fd.Reset(memfd_create("userdma", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge));
  const int fd = mapping->fd.get();
  if (fd < 0) return -errno;
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) return -errno;
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -errno;
  if (node != kAnyNode) Prefer(fd, size, page, node);
  // The pages are allocated now, because populating the mapping would fail without an error.
  if (const int error = Allocate(fd, 0, size)) return error;
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (base == MAP_FAILED) return -errno;
  mapping->base = static_cast<char*>(base);
  mapping->size = size;
  mapping->page = page;
  *out = std::move(mapping);
  return 0;
}

napi_value PageSize(Call& call) { return call.Return(static_cast<int64_t>(PageBytes())); }

napi_value RegionCreate(Call& call) {
  uint64_t bytes;
  uint64_t page, node;
  if (!call.Unsigned(0, Call::kMaxSafeInteger, &bytes) || bytes == 0) return call.Return(-EINVAL);
  if (const int error = NodeOf(call, 2, &node)) return call.Return(error);
  if (const int error = PageOf(call, 1, &page)) return call.Return(error);
  const uint64_t size = RoundUp(bytes, page);
  // The kernel counts huge pages. It would give out ordinary pages until it has to kill a process.
  const uint64_t available = AvailableMemory(call.addon->runtime);
  if (page == PageBytes() && available != 0 && size > available) return call.Return(-ENOMEM);
  std::shared_ptr<Mapping> mapping;
  const int error = Create(size, page, node, &mapping);
  if (error != 0) return call.Return(error);
  const Handle handle = call.addon->AddRegion(std::move(mapping));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

napi_value RegionSize(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return call.Return(mapping == nullptr ? -EBADF : static_cast<int64_t>(mapping->size));
}

napi_value RegionFd(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return call.Return(mapping == nullptr ? -EBADF : mapping->fd.get());
}

napi_value RegionAddress(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return call.Return(mapping == nullptr ? -EBADF : reinterpret_cast<intptr_t>(mapping->base));
}

void FinalizeCarving(napi_env, void*, void* carving) noexcept {
  const std::shared_ptr<Carving> last = std::move(static_cast<Carving*>(carving)->self);
}

/** Zeroes the whole pages of [offset, offset + length), which are arguments 1 and 2. 0 or -errno. */
int Zero(const Call& call, const Mapping& mapping, uint64_t* offset, uint64_t* length) {
  const uint64_t size = mapping.size;
  if (!call.Unsigned(1, size, offset) || !call.Unsigned(2, size, length)) return -EINVAL;
  if (*length == 0 || *offset % PageBytes() != 0 || *length > size - *offset) return -EINVAL;
  memset(mapping.base + *offset, 0, RoundUp(*length, PageBytes()));
  return 0;
}

napi_value RegionCarve(Call& call) {
  std::shared_ptr<Mapping> mapping = call.addon->regions.Share(call.GetHandle(0));
  if (mapping == nullptr) return call.Return(-EBADF);
  uint64_t offset;
  uint64_t length;
  if (const int error = Zero(call, *mapping, &offset, &length)) return call.Return(error);
  return CarveBuffer(call, std::move(mapping), offset, length);
}

napi_value RegionZero(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  if (mapping == nullptr) return call.Return(-EBADF);
  uint64_t offset;
  uint64_t length;
  return call.Return(Zero(call, *mapping, &offset, &length));
}

/**
 * The kernel cannot punch a hole into a huge page that another process still maps: it clears the bytes
 * instead. This function detects that.
 */
bool StillThere(int fd, uint64_t offset, uint64_t length) {
  const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  return data >= 0 && static_cast<uint64_t>(data) < offset + length;
}

/** Punches a hole and allocates new pages. Other holders of the old pages keep them. */
napi_value RegionReplace(Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  if (mapping == nullptr) return call.Return(-EBADF);
  const uint64_t size = mapping->size;
  uint64_t offset;
  uint64_t length;
  if (!call.Unsigned(1, size, &offset) || !call.Unsigned(2, size, &length)) return call.Return(-EINVAL);
  if (mapping->page == 0) return call.Return(-EOPNOTSUPP);
  // The kernel would clear a part of a huge page, and not replace it.
  const bool whole = offset % mapping->page == 0 && length % mapping->page == 0;
  if (!whole || length == 0 || length > size - offset) return call.Return(-EINVAL);
  const int flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const int fd = mapping->fd.get();
  if (fallocate(fd, flags, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    return call.Return(-errno);
  }
  // hugetlbfs cannot answer the question, and the range has whole huge pages.
  if (mapping->page == PageBytes() && StillThere(fd, offset, length)) return call.Return(-EBUSY);
  return call.Return(Allocate(fd, offset, length));
}

napi_value RegionRevoke(Call& call) {
  const Handle handle = call.GetHandle(0);
  Mapping* mapping = call.addon->regions.Get(handle);
  if (mapping == nullptr) return call.Return(-EBADF);
  if (const int error = Abandon(*mapping)) return call.Return(error);
  mapping->fd.Reset();
  call.addon->live.erase(mapping->base);
  call.addon->regions.Remove(handle);
  return call.Return(0);
}

bool IsArrayBuffer(const Call& call) {
  bool is_buffer = false;
  return napi_is_arraybuffer(call.env, call[0], &is_buffer) == napi_ok && is_buffer;
}

/** 1: argument 0 is an ArrayBuffer that may be detached from here, 0: it is detached already; or -errno. */
int Detachable(const Call& call) {
  bool detached = false;
  if (!IsArrayBuffer(call)) return -EINVAL;
  const napi_node_version* node;
  if (napi_get_node_version(call.env, &node) != napi_ok || node->major >= 22) return -EOPNOTSUPP;
  if (napi_is_detached_arraybuffer(call.env, call[0], &detached) != napi_ok) return -EINVAL;
  return detached ? 0 : 1;
}

napi_value Detach(Call& call) {
  const int detachable = Detachable(call);
  if (detachable != 1) return call.Return(detachable);
  return call.Return(napi_detach_arraybuffer(call.env, call[0]) == napi_ok ? 1 : -EINVAL);
}

napi_value Renew(Call& call) {
  const int detachable = Detachable(call);
  if (detachable != 1) return call.Return(detachable);
  if (!CanMoveBackingStore(call.addon->runtime)) return call.Return(-EOPNOTSUPP);
  napi_value fresh = MoveBackingStore(call.env, call.addon->runtime, call[0]);
  return fresh == nullptr ? call.Return(-EINVAL) : fresh;
}

napi_value Unlock(Call& call) {
  if (!IsArrayBuffer(call)) return call.Return(-EINVAL);
  return call.Return(ClearDetachKey(call.env, call.addon->runtime, call[0]) ? 0 : -EOPNOTSUPP);
}

}  // namespace

Mapping::~Mapping() {
  if (base != nullptr) munmap(base, size);
}

/**
 * A status other than napi_ok does not tell if Node.js took the finalizer. Node 20 runs it and then
 * throws for more than 4 GiB. An environment that stops returns napi_pending_exception both before and
 * after it took the finalizer. So the carving itself knows if the finalizer has run. If it has not, it
 * may run until the environment ends, and not later.
 */
napi_value LendBuffer(const Call& call, std::shared_ptr<void> memory, size_t length) {
  std::vector<std::shared_ptr<Carving>>& unsure = call.addon->unsure;
  unsure.reserve(unsure.size() + 1);  // no step may fail after Node.js was asked
  const auto carving = std::make_shared<Carving>();
  carving->memory = std::move(memory);
  carving->self = carving;
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(call.env, carving->memory.get(), length,
                                                              FinalizeCarving, carving.get(), &buffer);
  if (status == napi_ok) return buffer;
  napi_value exception;
  napi_get_and_clear_last_exception(call.env, &exception);
  if (status == napi_no_external_buffers_allowed) {
    carving->self.reset();  // Node.js refused before it took the finalizer
    return call.Return(-EOPNOTSUPP);
  }
  if (carving->self != nullptr) unsure.push_back(carving);
  return call.Return(-ENOMEM);
}

napi_value CarveBuffer(const Call& call, std::shared_ptr<Mapping> mapping, size_t offset, size_t length) {
  char* const start = mapping->base + offset;
  return LendBuffer(call, std::shared_ptr<void>(std::move(mapping), start), length);
}

int Abandon(const Mapping& mapping) {
  const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const there = mmap(mapping.base, mapping.size, PROT_READ | PROT_WRITE, flags, -1, 0);
  return there == MAP_FAILED ? -errno : 0;
}

Addon::~Addon() {
  for (const std::shared_ptr<Carving>& carving : unsure) carving->self.reset();
}

Handle Addon::AddRegion(std::shared_ptr<Mapping> mapping) {
  const Mapping* const raw = mapping.get();
  const auto place = live.emplace(raw->base, raw).first;
  try {
    const Handle handle = regions.Add(std::move(mapping));
    if (handle == 0) live.erase(place);
    return handle;
  } catch (...) {
    live.erase(place);
    throw;
  }
}

const Mapping* Addon::FindRegion(const void* pointer, size_t length) const {
  const char* const start = static_cast<const char*>(pointer);
  const auto after = live.upper_bound(start);
  if (after == live.begin()) return nullptr;
  const Mapping* mapping = std::prev(after)->second;
  const size_t offset = static_cast<size_t>(start - mapping->base);
  return offset < mapping->size && length <= mapping->size - offset ? mapping : nullptr;
}

void InitRegion(napi_env env, napi_value exports) {
  Export<PageSize, 0>(env, exports, "pageSize");
  Export<RegionCreate>(env, exports, "regionCreate");
  Export<RegionSize>(env, exports, "regionSize");
  Export<RegionFd>(env, exports, "regionFd");
  Export<RegionAddress>(env, exports, "regionAddress");
  Export<RegionCarve>(env, exports, "regionCarve");
  Export<RegionReplace>(env, exports, "regionReplace");
  Export<RegionRevoke>(env, exports, "regionRevoke");
  Export<RegionZero, 3>(env, exports, "regionZero");
  Export<Detach, 1>(env, exports, "detach");
  Export<Renew, 1>(env, exports, "renew");
  Export<Unlock, 1>(env, exports, "unlock");
}

}  // namespace userdma
