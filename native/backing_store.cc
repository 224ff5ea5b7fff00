#include "backing_store.h"

namespace userdma {

std::shared_ptr<void> HoldBackingStore(const Runtime& runtime, napi_value buffer) {
  // A shared_ptr of any type is returned through a hidden pointer, and a member function takes `this` as
  // its first argument (Itanium C++ ABI). V8 passes a napi_value as `this`.
  const GetBackingStore get = runtime.get_backing_store;
  return get == nullptr ? nullptr : get(buffer);
}

}  // namespace userdma
