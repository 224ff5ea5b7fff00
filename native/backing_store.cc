#include "backing_store.h"

namespace userdma {

std::shared_ptr<void> HoldBackingStore(const Runtime& runtime, napi_value buffer) {
  // A shared_ptr is returned through a hidden pointer whatever it points to, and a member function takes
  // `this` as its first argument (Itanium C++ ABI). A napi_value is what V8 passes as `this`.
  const GetBackingStore get = runtime.get_backing_store;
  return get == nullptr ? nullptr : get(buffer);
}

}  // namespace userdma
