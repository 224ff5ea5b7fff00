// Integer handles: what JavaScript holds instead of pointers.
//
//   bit 31   30..28   27..........16   15........0
//     0       kind     generation        slot
//
// A handle that was closed, made up, or belongs to another kind of object finds nothing. A slot whose
// generations are used up is retired, so no handle is ever given out twice.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace userdma {

using Handle = uint32_t;

constexpr Handle kMaxHandle = 0x7fffffff;

/** Owns objects of one kind. T may be incomplete where the table is declared. */
template <class T>
class HandleTable {
 public:
  /** `kind` (0 to 7) differs between the tables of one Addon. */
  explicit HandleTable(uint32_t kind) : kind_(kind << 28) {}

  /** Takes ownership. Returns 0, which is no handle, when the table is full (65,536 objects). */
  Handle Add(std::shared_ptr<T> object) {
    uint32_t slot;
    if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    } else {
      if (slots_.size() > kMaxSlot) return 0;
      slot = static_cast<uint32_t>(slots_.size());
      slots_.push_back({1, nullptr});
    }
    slots_[slot].object = std::move(object);
    return kind_ | slots_[slot].generation << 16 | slot;
  }

  /** nullptr for anything that is not a live handle of this table. */
  T* Get(Handle handle) const {
    const Slot* slot = Find(handle);
    return slot == nullptr ? nullptr : slot->object.get();
  }

  /** As Get, but shares ownership. */
  std::shared_ptr<T> Share(Handle handle) const {
    const Slot* slot = Find(handle);
    return slot == nullptr ? nullptr : slot->object;
  }

  template <class Visit>
  void ForEach(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.object != nullptr) visit(*slot.object);
    }
  }

  /** Kills the handle and hands the object over; nullptr when the handle is not live. */
  std::shared_ptr<T> Remove(Handle handle) {
    if (Find(handle) == nullptr) return nullptr;
    const uint32_t index = handle & kMaxSlot;
    Slot& slot = slots_[index];
    std::shared_ptr<T> object = std::move(slot.object);
    if (++slot.generation <= kMaxGeneration) free_.push_back(index);
    return object;
  }

 private:
  struct Slot {
    uint32_t generation;
    std::shared_ptr<T> object;
  };

  static constexpr uint32_t kMaxSlot = 0xffff;
  static constexpr uint32_t kMaxGeneration = 0xfff;

  const Slot* Find(Handle handle) const {
    const uint32_t index = handle & kMaxSlot;
    if (index >= slots_.size()) return nullptr;
    const Slot& slot = slots_[index];
    const bool live = slot.object != nullptr && handle == (kind_ | slot.generation << 16 | index);
    return live ? &slot : nullptr;
  }

  const uint32_t kind_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace userdma
