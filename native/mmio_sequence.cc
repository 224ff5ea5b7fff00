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
  uint32_t run;  // mapped steps from this one on that differ only in their place; 0 if it is not mapped
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

/** Reads so many mapped registers. Returns how many answered: all, or those before the first that did not. */
template <class T>
size_t LoadRun(const Step* step, size_t count, uint64_t* value) {
  for (size_t done = 0; done < count; done++) {
    T found;
    if (!Load(reinterpret_cast<const volatile T*>(step[done].mapped), &found)) return done;
    value[done] = found;
  }
  return count;
}

/** As LoadRun. */
template <class T>
size_t StoreRun(const Step* step, size_t count, const uint64_t* value) {
  for (size_t done = 0; done < count; done++) {
    if (!Store(reinterpret_cast<volatile T*>(step[done].mapped), static_cast<T>(value[done]))) return done;
  }
  return count;
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

/** The run of mapped steps that begins at `step`. Returns how many of them were made. */
size_t PerformRun(const Step& step, uint64_t* value) {
  switch (step.code) {
    case 1:
      return LoadRun<uint8_t>(&step, step.run, value);
    case 2:
      return LoadRun<uint16_t>(&step, step.run, value);
    case 4:
      return LoadRun<uint32_t>(&step, step.run, value);
    case 8:
      return LoadRun<uint64_t>(&step, step.run, value);
    case kWrite + 1:
      return StoreRun<uint8_t>(&step, step.run, value);
    case kWrite + 2:
      return StoreRun<uint16_t>(&step, step.run, value);
    case kWrite + 4:
      return StoreRun<uint32_t>(&step, step.run, value);
    default:
      return StoreRun<uint64_t>(&step, step.run, value);
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

/** Finds the runs of steps of one kind. */
void FindRuns(std::vector<Step>& steps) {
  const Step* next = nullptr;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const bool goes_on = next != nullptr && next->code == step->code;
    step->run = step->mapped == nullptr ? 0 : 1 + (goes_on ? next->run : 0);
    next = &*step;
  }
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
  FindRuns(sequence->steps);
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
  const Step* const steps = sequence->steps.data();
  uint64_t* const values = sequence->memory.data() + 1;
  const size_t count = sequence->steps.size();
  const bool checked = window->reserved.size() == sequence->reserved;
  size_t done = 0;
  while (done < count) {
    const Step& step = steps[done];
    int error;
    if (checked && step.run != 0) {
      const size_t made = PerformRun(step, values + done);
      error = made == step.run ? 0 : -EIO;
      done += made;
    } else {
      error = PerformSlowly(*window, step, values + done);
      if (error == 0) done++;
    }
    if (error == 0) continue;
    frame.value = done;
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
