// What C does in the same time: the other side of every row of the bench.
//
// Each export takes the parameters of a loop, sets everything up, and returns a function `(count) =>
// nanoseconds` that runs `count` rounds of it between two looks at the clock. V8 is not in the loop.
#include <linux/vfio.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <vector>

#include "wakeups.h"

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

/** store(registers): a volatile store of 32 bits, to one of so many registers in turn. */
Napi::Value StoreRegisters(const Napi::CallbackInfo& info) {
  auto registers = std::make_shared<std::vector<uint32_t>>(Argument(info, 0));
  return Timed(info.Env(), [registers](uint32_t i) {
    *const_cast<volatile uint32_t*>(&(*registers)[i % registers->size()]) = i;
  });
}

/** Two rings of the 82574's legacy descriptors, packets for them, a NIC that is only memory, and the
 * forwarding loop of ixy: what examples/nic does, in C. */
class Forwarder {
 public:
  explicit Forwarder(uint32_t batch) : batch_(batch), held_(batch), memory_(kPackets * kStride) {
    receive_ = static_cast<Descriptor*>(aligned_alloc(4096, kEntries * sizeof(Descriptor)));
    transmit_ = static_cast<Descriptor*>(aligned_alloc(4096, kEntries * sizeof(Descriptor)));
    memset(receive_, 0, kEntries * sizeof(Descriptor));
    memset(transmit_, 0, kEntries * sizeof(Descriptor));
    for (size_t i = 0; i < kPackets; i++) {
      packets_[i].bytes = memory_.data() + i * kStride;
      packets_[i].address = i * kStride;
      free_[i] = &packets_[i];
    }
    for (uint32_t slot = 0; slot < kEntries; slot++) Refill(slot);
    receive_tail_ = kEntries - 1;
  }
  ~Forwarder() {
    free(receive_);
    free(transmit_);
  }
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  /** The NIC receives a batch, and sends all there is. */
  void Step() {
    for (uint32_t i = 0; i < batch_ && receive_head_ != receive_tail_; i++) {
      Descriptor& descriptor = receive_[receive_head_];
      descriptor.command = kLength;
      __atomic_store_n(&descriptor.state, kDone | kEnd, __ATOMIC_RELEASE);
      receive_head_ = Next(receive_head_);
    }
    for (; transmit_head_ != transmit_tail_; transmit_head_ = Next(transmit_head_)) {
      __atomic_store_n(&transmit_[transmit_head_].state, kDone, __ATOMIC_RELEASE);
    }
  }

  /** Both tails go on by a batch, without a driver. */
  void Skip() {
    receive_tail_ = (receive_tail_ + batch_) % kEntries;
    transmit_tail_ = (transmit_tail_ + batch_) % kEntries;
  }

  void Forward() {
    const uint32_t received = Receive();
    for (uint32_t i = 0; i < received; i++) held_[i]->bytes[48]++;
    Transmit(received);
  }

 private:
  struct Descriptor {
    uint64_t address;
    uint32_t command;
    uint32_t state;
  };
  struct Packet {
    uint8_t* bytes;
    uint64_t address;
    uint32_t length;
  };
  static constexpr uint32_t kEntries = 256;
  static constexpr uint32_t kLot = 32;
  static constexpr size_t kPackets = 3 * kEntries;
  static constexpr size_t kStride = 2048;
  static constexpr uint32_t kDone = 1;
  static constexpr uint32_t kEnd = 2;
  static constexpr uint32_t kErrors = 0x9700;
  static constexpr uint32_t kLength = 60;
  static constexpr uint32_t kSend = 0x0b000000;

  static uint32_t Next(uint32_t slot) { return slot + 1 == kEntries ? 0 : slot + 1; }

  static bool Done(const Descriptor* ring, uint32_t slot) {
    return (__atomic_load_n(&ring[slot % kEntries].state, __ATOMIC_ACQUIRE) & kDone) != 0;
  }

  void Refill(uint32_t slot) {
    Packet* packet = free_[--available_];
    in_receive_[slot] = packet;
    receive_[slot].address = packet->address;
    receive_[slot].state = 0;
  }

  uint32_t Receive() {
    if (!Done(receive_, next_ + batch_ - 1)) return 0;
    uint32_t received = 0;
    for (uint32_t i = 0; i < batch_; i++) {
      const Descriptor& descriptor = receive_[next_];
      if ((descriptor.state & (kDone | kEnd | kErrors)) != (kDone | kEnd)) abort();
      Packet* packet = in_receive_[next_];
      packet->length = descriptor.command & 0xffff;
      held_[received++] = packet;
      Refill(next_);
      next_ = Next(next_);
    }
    kept_ += batch_;
    if (kept_ >= kLot) {
      kept_ = 0;
      __atomic_store_n(&receive_tail_, next_ == 0 ? kEntries - 1 : next_ - 1, __ATOMIC_RELEASE);
    }
    return received;
  }

  void Transmit(uint32_t count) {
    while (under_way_ >= kLot && Done(transmit_, oldest_ + kLot - 1)) {
      for (uint32_t i = 0; i < kLot; i++) {
        free_[available_++] = in_transmit_[oldest_];
        oldest_ = Next(oldest_);
      }
      under_way_ -= kLot;
    }
    uint32_t slot = transmit_tail_;
    for (uint32_t i = 0; i < count; i++) {
      Packet* packet = held_[i];
      in_transmit_[slot] = packet;
      transmit_[slot].address = packet->address;
      transmit_[slot].command = kSend | packet->length;
      transmit_[slot].state = 0;
      slot = Next(slot);
    }
    under_way_ += count;
    __atomic_store_n(&transmit_tail_, slot, __ATOMIC_RELEASE);
  }

  const uint32_t batch_;
  std::vector<Packet*> held_;
  std::vector<uint8_t> memory_;
  Descriptor* receive_;
  Descriptor* transmit_;
  Packet packets_[kPackets];
  Packet* free_[kPackets];
  Packet* in_receive_[kEntries];
  Packet* in_transmit_[kEntries];
  size_t available_ = kPackets;
  uint32_t next_ = 0;
  uint32_t kept_ = 0;
  uint32_t oldest_ = 0;
  uint32_t under_way_ = 0;
  uint32_t receive_head_ = 0;
  uint32_t receive_tail_ = 0;
  uint32_t transmit_head_ = 0;
  uint32_t transmit_tail_ = 0;
};

/** forward(batch, driven): a batch comes, is forwarded and sent; without a driver only the NIC's part of it.
 */
Napi::Value Forward(const Napi::CallbackInfo& info) {
  auto forwarder = std::make_shared<Forwarder>(static_cast<uint32_t>(Argument(info, 0)));
  if (info[1].As<Napi::Boolean>()) {
    return Timed(info.Env(), [forwarder](uint32_t) {
      forwarder->Step();
      forwarder->Forward();
    });
  }
  return Timed(info.Env(), [forwarder](uint32_t) {
    forwarder->Skip();
    forwarder->Step();
  });
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
  add("store", StoreRegisters);
  add("vfioPair", VfioPair);
  add("forward", Forward);
  InitWakeups(env, exports);
  return exports;
}

NODE_API_MODULE(bench_comparators, Init)

}  // namespace
