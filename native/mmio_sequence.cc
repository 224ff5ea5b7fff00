// Sequences: register accesses that are prepared once and made in one call.
//
//   steps     width, direction, offset and place of each access: private to the addon, checked once
//   memory    an ArrayBuffer that JavaScript writes values into and reads values from
//
// A sequence lives as long as that ArrayBuffer. It does not keep its window open: after the window was
// closed, a run gives -EBADF, and the places in it are not used any more.
#include <cstring>
#include <utility>

#include "mmio_register.h"
#include "region.h"

namespace userdma {

namespace {

struct Step {
  volatile char* mapped;  // nullptr: reached through the file of the window
  uint64_t offset;
  uint8_t width;
  bool write;
  uint8_t code;  // the width, and kWrite
};

constexpr uint64_t kWrite = 16;  // added to the width of a step that writes
constexpr size_t kMaxSteps = 1 << 16;

}  // namespace

struct MmioSequence {
  Handle window;
  size_t reserved;  // ranges of the window that belonged to the host when the steps were checked
  std::vector<Step> steps;
  // The handle of this sequence as a double, and the value of each step. JavaScript sees it.
  std::vector<uint64_t> memory;
};

namespace {

/** A step whose register is not mapped, or which has to be checked again. 0 or -errno. */
template <class T>
int PerformSlowly(const MmioWindow& window, const Step& step, uint64_t* value) {
  if (IsRefused(window, step.offset, sizeof(T), step.write)) return -EPERM;
  if (step.write) return WriteRegister(window, step.mapped, step.offset, static_cast<T>(*value));
  T found;
  const int error = ReadRegister(window, step.mapped, step.offset, &found);
  if (error == 0) *value = found;
  return error;
}

template <class T>
bool LoadInto(const volatile char* mapped, uint64_t* value) {
  T found;
  if (!Load(reinterpret_cast<const volatile T*>(mapped), &found)) return false;
  *value = found;
  return true;
}

template <class T>
bool StoreFrom(volatile char* mapped, const uint64_t* value) {
  return Store(reinterpret_cast<volatile T*>(mapped), static_cast<T>(*value));
}

[[gnu::noinline]] int PerformSlowly(const MmioWindow& window, const Step& step, uint64_t* value) {
  switch (step.width) {
    case 1:
      return PerformSlowly<uint8_t>(window, step, value);
    case 2:
      return PerformSlowly<uint16_t>(window, step, value);
    case 4:
      return PerformSlowly<uint32_t>(window, step, value);
    default:
      return PerformSlowly<uint64_t>(window, step, value);
  }
}

/** One access of a mapped register; false if the device did not answer. */
inline bool Perform(const Step& step, uint64_t* value) {
  switch (step.code) {
    case 1:
      return LoadInto<uint8_t>(step.mapped, value);
    case 2:
      return LoadInto<uint16_t>(step.mapped, value);
    case 4:
      return LoadInto<uint32_t>(step.mapped, value);
    case 8:
      return LoadInto<uint64_t>(step.mapped, value);
    case kWrite + 1:
      return StoreFrom<uint8_t>(step.mapped, value);
    case kWrite + 2:
      return StoreFrom<uint16_t>(step.mapped, value);
    case kWrite + 4:
      return StoreFrom<uint32_t>(step.mapped, value);
    default:
      return StoreFrom<uint64_t>(step.mapped, value);
  }
}

/** One step out of two numbers of JavaScript: the width (and kWrite), and the offset. 0 or -errno. */
int Prepare(const MmioWindow& window, double access, double offset, Step* step) {
  uint64_t code;
  if (!ToUnsigned(access, 2 * kWrite, &code)) return -EINVAL;
  const uint64_t width = code % kWrite;
  if (width != 1 && width != 2 && width != 4 && width != 8) return -EINVAL;
  if (!ToUnsigned(offset, Call::kMaxSafeInteger, &step->offset)) return -EINVAL;
  step->width = static_cast<uint8_t>(width);
  step->write = code >= kWrite;
  step->code = static_cast<uint8_t>(code);
  step->mapped = MappedRegister(window, step->offset);
  return CheckRegister(window, step->offset, width, step->write);
}

/** mmioSequence(window, accesses): see lib/native/addon.ts. */
napi_value Make(Call& call) {
  const Handle handle = call.GetHandle(0);
  const MmioWindow* const window = call.addon->windows.Get(handle);
  if (window == nullptr) return call.Return(-EBADF);
  void* data;
  size_t length;
  if (!call.Buffer(1, &data, &length) || length % 16 != 0 || length / 16 > kMaxSteps) {
    return call.Return(-EINVAL);
  }
  const auto sequence = std::make_shared<MmioSequence>();
  sequence->window = handle;
  sequence->reserved = window->reserved.size();
  sequence->steps.resize(length / 16);
  sequence->memory.resize(1 + sequence->steps.size());
  const double* number = static_cast<const double*>(data);
  for (Step& step : sequence->steps) {
    if (const int error = Prepare(*window, number[0], number[1], &step)) return call.Return(error);
    number += 2;
  }
  // The ArrayBuffer may outlive the environment's Addon, so it does not refer to the table.
  const std::weak_ptr<HandleTable<MmioSequence>> table = call.addon->sequences;
  const Handle own = call.addon->sequences->Add(sequence);
  if (own == 0) return call.Return(-EMFILE);
  const std::shared_ptr<void> lease(sequence->memory.data(), [table, own, sequence](void*) {
    if (const auto live = table.lock()) live->Remove(own);
  });
  const double name = static_cast<double>(own);
  memcpy(sequence->memory.data(), &name, sizeof name);
  return LendBuffer(call, lease, sequence->memory.size() * sizeof(uint64_t));
}

/** mmioRun(): runs the sequence of the frame's handle. */
napi_value Run(Call& call) {
  MmioFrame& frame = *call.addon->frame;
  MmioSequence* const sequence = call.addon->sequences->Get(ToHandle(frame.handle));
  const MmioWindow* const window = sequence == nullptr ? nullptr : call.addon->windows.Get(sequence->window);
  frame.value = 0;
  if (window == nullptr) return call.Return(-EBADF);
  uint64_t* value = sequence->memory.data();
  const Step* const first = sequence->steps.data();
  const Step* const end = first + sequence->steps.size();
  const bool checked = window->reserved.size() == sequence->reserved;
  for (const Step* step = first; step != end; step++) {
    int error;
    value++;
    if (checked && step->mapped != nullptr) {
      error = Perform(*step, value) ? 0 : -EIO;
    } else {
      error = PerformSlowly(*window, *step, value);
    }
    if (error == 0) continue;
    frame.value = static_cast<uint64_t>(step - first);
    return call.Return(error);
  }
  return nullptr;
}

}  // namespace

void InitMmioSequence(napi_env env, napi_value exports) {
  Export<Make, 2>(env, exports, "mmioSequence");
  Export<Run, 0>(env, exports, "mmioRun");
}

}  // namespace userdma
