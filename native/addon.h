// The state of the addon in one JavaScript environment (main thread or worker), and how its files plug in.
//
// Conventions of every native function
//   - Functions are plain and take integer handles (an ObjectWrap costs 75 ns a call).
//   - A result >= 0 is the answer, and a result < 0 is -errno. Functions never throw: TypeScript makes
//   errors. A register access has no result: `undefined` costs nothing.
//   - Hostile arguments (NaN, strings, stale handles, missing ones) give -EINVAL or -EBADF, never a crash.
//     -EBADF is an unknown or closed handle, -EINVAL is any other bad argument.
//   - An allocation that fails is std::bad_alloc, which becomes -ENOMEM at the border (Export). So a function
//     changes nothing before its last allocation, or undoes its changes.
//   - The environment may be stopping (a worker that is terminated). Any Node-API call may then fail, with a
//     status that does not tell which steps were done before.
//   - There are no mutable statics. All state is in Addon, which a function reaches through Call::addon.
//
// To add functions, write one file with
//
//   static napi_value Answer(Call& call) {
//     uint64_t n;
//     if (!call.Unsigned(0, 100, &n)) return call.Return(-EINVAL);
//     return call.Return(n * 2);
//   }
//   void InitAnswer(napi_env env, napi_value exports) { Export<Answer>(env, exports, "answer"); }
//
// declare its Init below, call it in addon.cc, and document the function in lib/native/addon.ts.
#pragma once

#include <node_api.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "handle_table.h"
#include "runtime.h"

namespace userdma {

// Sizes and offsets are Numbers up to 2^53 in JavaScript, and size_t, off_t and pointers here.
static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 && sizeof(off_t) == 8, "a 64-bit process");

struct Mapping;        // region.h
struct Carving;        // region.h
struct DmaBuf;         // dma_buf.h
struct MmioFrame;      // mmio.h
struct MmioWindow;     // mmio.h
struct MmioSequence;   // mmio_sequence.cc
struct Interrupt;      // interrupt.h
struct VfioContainer;  // vfio_container.cc
struct VfioDevice;     // vfio_device.cc
struct Ioas;           // iommufd.h
class Fd;              // fd.h

/**
 * Destroyed with the environment. The members go in reverse order: devices stop before their memory goes.
 */
struct Addon {
  explicit Addon(const Runtime& found);

  const Runtime runtime;

  /** Carvings whose buffer Node.js may or may not have made. They end with the environment (region.h). */
  std::vector<std::shared_ptr<Carving>> unsure;

  HandleTable<Mapping> regions{1};
  HandleTable<VfioContainer> containers{2};
  HandleTable<Ioas> ioases{7};
  /** Open as long as an IOAS of it is open. */
  std::weak_ptr<const Fd> iommufd;
  HandleTable<VfioDevice> devices{3};
  HandleTable<MmioWindow> windows{4};
  /** An ArrayBuffer removes its sequence from here, if it dies first. */
  const std::shared_ptr<HandleTable<MmioSequence>> sequences;
  const std::shared_ptr<MmioFrame> frame;
  HandleTable<Interrupt> interrupts{5};
  HandleTable<DmaBuf> dma_bufs{6};

  /** Live regions by their first byte, for FindRegion. A region leaves when it is revoked. */
  std::map<const char*, const Mapping*> live;

  /**
   * The live region that holds all of [pointer, pointer + length), or nullptr. A region has whole pages,
   * so the rest of the last page belongs to it, too, and may be mapped for a device.
   */
  const Mapping* FindRegion(const void* pointer, size_t length) const;

  /** Adds a region to `regions` and `live`. Returns 0 if the table is full. */
  Handle AddRegion(std::shared_ptr<Mapping> mapping);

  ~Addon();
};

/** Whether `number` is an integer from 0 to `max` (at most 2^53 - 1). */
inline bool ToUnsigned(double number, uint64_t max, uint64_t* out) {
  if (!(number >= 0 && number <= static_cast<double>(max))) return false;
  *out = static_cast<uint64_t>(number);
  return static_cast<double>(*out) == number;
}

/** Any handle number; 0, which no table knows, if it is not one. */
inline Handle ToHandle(double number) {
  uint64_t handle;
  return ToUnsigned(number, kMaxHandle, &handle) ? handle : 0;
}

/** The arguments and the result of one call from JavaScript. No accessor runs JavaScript or leaves an
 * exception. */
class Call {
 public:
  static constexpr size_t kMaxArguments = 8;
  static constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

  Call(napi_env environment, napi_callback_info info, size_t arguments)
      : env(environment), count_(arguments) {
    void* data = nullptr;
    const bool some = arguments > 0;
    napi_get_cb_info(env, info, some ? &count_ : nullptr, some ? arguments_ : nullptr, nullptr, &data);
    addon = static_cast<Addon*>(data);
  }

  const napi_env env;
  Addon* addon = nullptr;

  /**
   * The raw argument; undefined if it is missing. `index` is below the number given to Export, here and
   * below.
   */
  napi_value operator[](size_t index) const { return arguments_[index]; }

  /** A Number that is an integer from 0 to `max` (at most 2^53 - 1). */
  bool Unsigned(size_t index, uint64_t max, uint64_t* out) const {
    double number;
    return napi_get_value_double(env, arguments_[index], &number) == napi_ok && ToUnsigned(number, max, out);
  }

  /** Any handle number. If the argument is not one: 0, which no table knows. */
  Handle GetHandle(size_t index) const {
    uint64_t number = 0;
    return Unsigned(index, kMaxHandle, &number) ? number : 0;
  }

  /** A BigInt from 0 to 2^64 - 1. */
  bool BigUint64(size_t index, uint64_t* out) const {
    bool lossless = false;
    return napi_get_value_bigint_uint64(env, arguments_[index], out, &lossless) == napi_ok && lossless;
  }

  bool Boolean(size_t index, bool* out) const {
    return napi_get_value_bool(env, arguments_[index], out) == napi_ok;
  }

  /** A string of at most `max` bytes of UTF-8 without NUL. */
  bool Text(size_t index, size_t max, std::string* out) const;

  /** An ArrayBuffer (not a view, not shared) that is not detached; it may be empty. */
  bool Buffer(size_t index, void** data, size_t* length) const;

  bool IsFunction(size_t index) const {
    napi_valuetype type;
    return napi_typeof(env, arguments_[index], &type) == napi_ok && type == napi_function;
  }

  /** A Number. Its absolute value must be below 2^53. */
  napi_value Return(int64_t number) const {
    napi_value value = nullptr;
    napi_create_int64(env, number, &value);
    return value;
  }

  napi_value ReturnBigInt(uint64_t number) const {
    napi_value value = nullptr;
    napi_create_bigint_uint64(env, number, &value);
    return value;
  }

 private:
  size_t count_;
  napi_value arguments_[kMaxArguments];
};

/**
 * Exports `Function` under `name`, with the environment's Addon as its data. Reaching that costs nothing,
 * unlike instance data. `Arguments` is the number of arguments that the function reads. Each costs a few
 * ns, even if the caller does not pass it.
 */
template <napi_value (*Function)(Call&), size_t Arguments = Call::kMaxArguments>
void Export(napi_env env, napi_value exports, const char* name) {
  const napi_callback callback = [](napi_env environment, napi_callback_info info) -> napi_value {
    Call call(environment, info, Arguments);
    try {
      return Function(call);
    } catch (const std::exception&) {  // std::bad_alloc, std::length_error
      return call.Return(-ENOMEM);
    }
  };
  void* addon = nullptr;
  napi_value function = nullptr;
  // A failure means that the environment is stopping: no JavaScript will miss the function.
  if (napi_get_instance_data(env, &addon) != napi_ok) return;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, addon, &function) != napi_ok) return;
  napi_set_named_property(env, exports, name, function);
}

/** Whether the functions that stand in for a device in tests are compiled: they are in no released addon. */
#ifdef USERDMA_RELEASE
constexpr bool kTesting = false;
#else
constexpr bool kTesting = true;
#endif

void InitCopy(napi_env env, napi_value exports);
void InitRegion(napi_env env, napi_value exports);
void InitDmaBuf(napi_env env, napi_value exports);
void InitMmio(napi_env env, napi_value exports, napi_value testing);
void InitMmioSequence(napi_env env, napi_value exports);
void InitInterrupt(napi_env env, napi_value exports, napi_value testing);
void InitUio(napi_env env, napi_value exports);
void InitMappedMemory(napi_env env, napi_value exports);
void InitIommufd(napi_env env, napi_value exports);
void InitVfioContainer(napi_env env, napi_value exports);
void InitVfioDevice(napi_env env, napi_value exports);
void InitUDmaBuf(napi_env env, napi_value exports);

}  // namespace userdma
