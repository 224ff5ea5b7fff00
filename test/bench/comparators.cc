// What C does in the same time: the other side of every row of the bench.
//
// Each export takes the parameters of a loop, sets everything up, and returns a function `(count) =>
// nanoseconds` that runs `count` rounds of it between two looks at the clock. V8 is not in the loop.
#include <linux/vfio.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <vector>

namespace {

/** The compiler must assume that somebody looks at what `pointer` points to. */
void Observe(void* pointer) { asm volatile("" : : "g"(pointer) : "memory"); }

double Now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/** `(count) => nanoseconds` around `round(i)`. */
template <typename Round>
Napi::Value Timed(Napi::Env env, Round round) {
  return Napi::Function::New(env, [round](const Napi::CallbackInfo& info) -> Napi::Value {
    const uint32_t count = info[0].As<Napi::Number>().Uint32Value();
    const double start = Now();
    for (uint32_t i = 0; i < count; i++) round(i);
    return Napi::Number::New(info.Env(), Now() - start);
  });
}

size_t Argument(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<size_t>(info[index].As<Napi::Number>().Int64Value());
}

/** mallocPair(size): malloc and free of one block. */
Napi::Value MallocPair(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  return Timed(info.Env(), [size](uint32_t) {
    void* block = malloc(size);
    Observe(block);
    free(block);
  });
}

/** zeroedPair(size): the same, and the block is zeroed. */
Napi::Value ZeroedPair(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  return Timed(info.Env(), [size](uint32_t) {
    void* block = malloc(size);
    memset(block, 0, size);
    Observe(block);
    free(block);
  });
}

/** mallocBurst(size, blocks): so many mallocs, then as many frees, in the same order. */
Napi::Value MallocBurst(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  auto blocks = std::make_shared<std::vector<void*>>(Argument(info, 1));
  return Timed(info.Env(), [size, blocks](uint32_t) {
    for (void*& block : *blocks) {
      block = malloc(size);
      Observe(block);
    }
    for (void* block : *blocks) free(block);
  });
}

/** Blocks that live until the loop is collected. */
class Blocks {
 public:
  explicit Blocks(size_t count, size_t size) : blocks_(count), order_(count) {
    std::mt19937 random(1);
    for (size_t i = 0; i < count; i++) {
      blocks_[i] = malloc(size);
      order_[i] = static_cast<uint32_t>(random() % count);
    }
  }
  ~Blocks() {
    for (void* block : blocks_) free(block);
  }
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  /** The next one, at random. */
  void*& Next() {
    void*& block = blocks_[order_[next_]];
    if (++next_ == order_.size()) next_ = 0;
    return block;
  }

 private:
  std::vector<void*> blocks_;
  std::vector<uint32_t> order_;
  size_t next_ = 0;
};

/** mallocChurn(live, size): free one of `live` blocks at random and malloc another. */
Napi::Value MallocChurn(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 1);
  auto blocks = std::make_shared<Blocks>(Argument(info, 0), size);
  return Timed(info.Env(), [size, blocks](uint32_t) {
    void*& block = blocks->Next();
    free(block);
    block = malloc(size);
    Observe(block);
  });
}

/** Pieces of memory of one size, a stride apart. */
class Pieces {
 public:
  Pieces(size_t count, size_t stride) : memory_(count * stride), stride_(stride) { Observe(memory_.data()); }
  char* At(size_t index) { return memory_.data() + index * stride_; }

 private:
  std::vector<char> memory_;
  size_t stride_;
};

/** A stride that puts no two pieces at the same place in their cache line or page. */
size_t Unaligned(size_t size) { return size + 72; }

/** copy(size, sources, targets): memcpy from the next of `sources` pieces to the next of `targets`. */
Napi::Value Copy(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  const size_t from = Argument(info, 1);
  const size_t to = Argument(info, 2);
  auto sources = std::make_shared<Pieces>(from, Unaligned(size));
  auto targets = std::make_shared<Pieces>(to, Unaligned(size));
  return Timed(info.Env(), [=](uint32_t i) {
    char* target = targets->At(i % to);
    memcpy(target, sources->At(i % from), size);
    Observe(target);
  });
}

/** copyList(size, elements, from, to): memcpy of a whole list, elements `from` bytes apart to places `to`
 * bytes apart. */
Napi::Value CopyList(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  const size_t elements = Argument(info, 1);
  auto sources = std::make_shared<Pieces>(elements, Argument(info, 2));
  auto targets = std::make_shared<Pieces>(elements, Argument(info, 3));
  return Timed(info.Env(), [=](uint32_t) {
    for (size_t i = 0; i < elements; i++) {
      memcpy(targets->At(i), sources->At(i), size);
      Observe(targets->At(i));
    }
  });
}

/** Two levels of pages, as SPDK's memory map has: a region's address for each page. */
class PageTable {
 public:
  PageTable(size_t regions, size_t touched) : directory_((regions + kLeaf - 1) / kLeaf) {
    for (auto& leaf : directory_) leaf.resize(kLeaf);
    for (size_t i = 0; i < regions; i++) directory_[i / kLeaf][i % kLeaf] = i << 12;
    std::mt19937 random(1);
    std::vector<uint64_t> chosen(touched);
    for (uint64_t& page : chosen) page = random() % regions;
    for (uint64_t& page : order_) page = chosen[random() % touched];
  }
  uint64_t Next(uint32_t i) const {
    const uint64_t page = order_[i % kOrder];
    return directory_[page / kLeaf][page % kLeaf];
  }

 private:
  static constexpr size_t kLeaf = 1024;
  static constexpr size_t kOrder = 1 << 16;
  std::vector<std::vector<uint64_t>> directory_;
  std::vector<uint64_t> order_ = std::vector<uint64_t>(kOrder);
};

/** lookup(regions, touched): address of one of `touched` pages, chosen at random from `regions`. */
Napi::Value Lookup(const Napi::CallbackInfo& info) {
  auto table = std::make_shared<PageTable>(Argument(info, 0), Argument(info, 1));
  return Timed(info.Env(), [table](uint32_t i) {
    uint64_t address = table->Next(i);
    asm volatile("" : : "r"(address));
  });
}

struct Hole {
  uint64_t start;
  uint64_t size;
  Hole* next;
};

/** walkHoles(holes): look through a list of free pieces of memory for one that is large enough; there is
 * none. */
Napi::Value WalkHoles(const Napi::CallbackInfo& info) {
  auto holes = std::make_shared<std::vector<Hole>>(Argument(info, 0));
  for (size_t i = 0; i < holes->size(); i++) {
    (*holes)[i] = {i << 14, 8192, i + 1 < holes->size() ? &(*holes)[i + 1] : nullptr};
  }
  return Timed(info.Env(), [holes](uint32_t) {
    Hole* hole = holes->data();
    while (hole != nullptr && hole->size < 16384) hole = hole->next;
    Observe(hole);
  });
}

/** mmapPair(size): a zeroed, populated mapping of shared memory, and its end. */
Napi::Value MmapPair(const Napi::CallbackInfo& info) {
  const size_t size = Argument(info, 0);
  return Timed(info.Env(), [size](uint32_t) {
    void* memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    Observe(memory);
    munmap(memory, size);
  });
}

/** vfioPair(fd, iova, size): VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA of anonymous memory; throws at once
 * if refused. */
Napi::Value VfioPair(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(Argument(info, 0));
  const uint64_t iova = Argument(info, 1);
  const size_t size = Argument(info, 2);
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  const auto pair = [=] {
    vfio_iommu_type1_dma_map map = {};
    map.argsz = sizeof map;
    map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    map.vaddr = reinterpret_cast<uintptr_t>(memory);
    map.iova = iova;
    map.size = size;
    if (ioctl(fd, VFIO_IOMMU_MAP_DMA, &map) != 0) return false;
    vfio_iommu_type1_dma_unmap unmap = {};
    unmap.argsz = sizeof unmap;
    unmap.iova = iova;
    unmap.size = size;
    return ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0;
  };
  if (!pair()) {
    Napi::Error::New(info.Env(), strerror(errno)).ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return Timed(info.Env(), [pair](uint32_t) { pair(); });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*make)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, make));
  };
  add("mallocPair", MallocPair);
  add("zeroedPair", ZeroedPair);
  add("mallocBurst", MallocBurst);
  add("mallocChurn", MallocChurn);
  add("copy", Copy);
  add("copyList", CopyList);
  add("lookup", Lookup);
  add("walkHoles", WalkHoles);
  add("mmapPair", MmapPair);
  add("vfioPair", VfioPair);
  return exports;
}

NODE_API_MODULE(bench_comparators, Init)

}  // namespace
