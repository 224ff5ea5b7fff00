// Many copies in one call. The set() of a TypedArray costs about 30 ns before the first byte moves, far
// more than moving a few hundred bytes. One call here costs about as much as five of them, and then a few
// ns for each copy.
//
// The list of copies is an array that JavaScript keeps, and it may be wrong in any way. It may even be in
// memory that one of the copies, another thread or a device writes. So the function reads the whole list
// once, checks it, and turns it into pointers before the first byte moves. No JavaScript runs in between,
// so the pointers stay valid.
#include <algorithm>
#include <cstring>
#include <vector>

#include "addon.h"

namespace userdma {
namespace {

constexpr size_t kFirstBuffer = 2;  // arguments before the buffers
constexpr size_t kMaxBuffers = Call::kMaxArguments - kFirstBuffer;
constexpr size_t kFields = 5;  // to buffer, offset, from buffer, offset, bytes
constexpr size_t kFewCopies = 64;
constexpr size_t kMaxCopies = 1 << 20;

struct Buffer {
  char* data = nullptr;
  size_t length = 0;
};

struct Copy {
  char* to;
  const char* from;
  size_t size;
};

// Volatile: the compiler must not read a number again after it was checked.
using Fields = const volatile uint32_t*;

/**
 * `size` bytes at fields[1] of the buffer with number fields[0]; nullptr if the buffer does not have
 * those bytes.
 */
inline char* Locate(const Buffer* buffers, Fields fields, size_t size) {
  const size_t number = fields[0];
  const size_t offset = fields[1];
  if (number >= kMaxBuffers) return nullptr;
  const Buffer& buffer = buffers[number];
  return offset + size <= buffer.length ? buffer.data + offset : nullptr;
}

inline bool Check(const Buffer* buffers, Fields fields, Copy* copy) {
  copy->size = fields[4];
  copy->to = Locate(buffers, fields, copy->size);
  copy->from = Locate(buffers, fields + 2, copy->size);
  return copy->size != 0 && copy->to != nullptr && copy->from != nullptr;
}

/**
 * copyBatch(copies, count, buffer...): 0 after all copies are done, in order; or -EINVAL, and none is
 * done.
 */
napi_value CopyBatch(Call& call) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  uint64_t count;
  if (napi_get_typedarray_info(call.env, call[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array || !call.Unsigned(1, std::min(length / kFields, kMaxCopies), &count)) {
    return call.Return(-EINVAL);
  }
  const Fields fields = static_cast<const uint32_t*>(data);
  Buffer buffers[kMaxBuffers];
  for (size_t i = 0; i < kMaxBuffers && call.Buffer(kFirstBuffer + i, &data, &length); i++) {
    buffers[i] = {static_cast<char*>(data), length};
  }
  Copy few[kFewCopies];
  std::vector<Copy> many;
  Copy* copies = few;
  if (count > kFewCopies) {
    many.resize(count);
    copies = many.data();
  }
  for (size_t i = 0; i < count; i++) {
    if (!Check(buffers, fields + i * kFields, &copies[i])) return call.Return(-EINVAL);
  }
  for (size_t i = 0; i < count; i++) std::memmove(copies[i].to, copies[i].from, copies[i].size);
  return call.Return(0);
}

}  // namespace

void InitCopy(napi_env env, napi_value exports) { Export<CopyBatch>(env, exports, "copyBatch"); }

}  // namespace userdma
