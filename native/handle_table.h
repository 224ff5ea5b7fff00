// Integer handles, which JavaScript holds instead of pointers.
//
//   bits 52..19    18..16   15......0
//   generation      kind      slot
//
// A lookup finds nothing for a handle that was closed, made up, or belongs to another kind of object. No
// handle is used twice: a slot has 2^34 generations, so a program that opens and closes a million objects in
// each second needs 35 years to use up all slots. JavaScript holds handles as Numbers, which are exact up to
// 2^53. The first 4,095 handles of a slot are below 2^31, where V8 needs no memory for a Number.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace userdma {

using Handle = uint64_t;

constexpr Handle kMaxHandle = (Handle{1} << 53) - 1;

/** Owns the objects of one kind. T may be incomplete where the table is declared. */
template <class T>
class HandleTable {
 public:
  /** `kind` (0 to 7) differs between the tables of one Addon. */
  explicit HandleTable(uint64_t kind) : kind_(kind << kSlotBits) {}

  /**
   * Takes ownership. Returns 0, which is not a handle, if the table is full (65,536 objects).
   * @throws std::bad_alloc; the table is unchanged then
   */
  Handle Add(std::shared_ptr<T> object) {
    if (free_.empty()) {
      if (slots_.size() > kMaxSlot) return 0;
      free_.reserve(slots_.size() + 1);  // Remove must not fail
      slots_.push_back({1, nullptr});
      free_.push_back(static_cast<uint32_t>(slots_.size() - 1));
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    slots_[index].object = std::move(object);
    return HandleOf(index);
  }

  /** nullptr if the value is not a live handle of this table. */
  T* Get(Handle handle) const {
    const Slot* slot = Find(handle);
    return slot == nullptr ? nullptr : slot->object.get();
  }

  /** As Get, but the caller shares ownership. */
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

  /** Ends the handle and returns its object; nullptr if the handle is not live. */
  std::shared_ptr<T> Remove(Handle handle) noexcept {
    if (Find(handle) == nullptr) return nullptr;
    const uint32_t index = handle & kMaxSlot;
    Slot& slot = slots_[index];
    std::shared_ptr<T> object = std::move(slot.object);
    if (++slot.generation <= kMaxGeneration) free_.push_back(index);
    return object;
  }

 private:
  struct Slot {
    uint64_t generation;
    std::shared_ptr<T> object;
  };

  static constexpr unsigned kSlotBits = 16;
  static constexpr unsigned kGenerationShift = kSlotBits + 3;
  static constexpr uint32_t kMaxSlot = (1 << kSlotBits) - 1;
  static constexpr uint64_t kMaxGeneration = kMaxHandle >> kGenerationShift;

  Handle HandleOf(uint32_t index) const {
    return slots_[index].generation << kGenerationShift | kind_ | index;
  }

  const Slot* Find(Handle handle) const {
    const uint32_t index = handle & kMaxSlot;
    if (index >= slots_.size() || handle != HandleOf(index)) return nullptr;
    return slots_[index].object == nullptr ? nullptr : &slots_[index];
  }

  const uint64_t kind_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;  // has room for every slot
};

}  // namespace userdma
