#include "backing_store.h"

#include <dlfcn.h>

namespace userdma {
namespace {

// std::shared_ptr<v8::BackingStore> v8::ArrayBuffer::GetBackingStore(). A shared_ptr is returned through a
// hidden pointer whatever it points to, and a member function takes `this` as its first argument (Itanium C++
// ABI).
using GetBackingStore = std::shared_ptr<void> (*)(void* array_buffer);

GetBackingStore Find() {
  return reinterpret_cast<GetBackingStore>(dlsym(RTLD_DEFAULT, "_ZN2v811ArrayBuffer15GetBackingStoreEv"));
}

}  // namespace

bool CanHoldBackingStores() { return Find() != nullptr; }

std::shared_ptr<void> HoldBackingStore(napi_value buffer) {
  const GetBackingStore get = Find();
  // A napi_value is the address of a handle, which is what V8 passes as `this`.
  return get == nullptr ? nullptr : get(buffer);
}

}  // namespace userdma
