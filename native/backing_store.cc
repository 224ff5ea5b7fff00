#include "backing_store.h"

#include <utility>

namespace userdma {

std::shared_ptr<void> HoldBackingStore(const Runtime& runtime, napi_value buffer) {
  // A shared_ptr of any type is returned through a hidden pointer, and a member function takes `this` as
  // its first argument (Itanium C++ ABI). V8 passes a napi_value as `this`.
  const GetBackingStore get = runtime.get_backing_store;
  return get == nullptr ? nullptr : get(buffer);
}

bool CanMoveBackingStore(const Runtime& runtime) {
  return runtime.get_backing_store != nullptr && runtime.current_isolate != nullptr;
}

napi_value MoveBackingStore(napi_env env, const Runtime& runtime, napi_value buffer) {
  std::shared_ptr<void> store = HoldBackingStore(runtime, buffer);
  if (store == nullptr || napi_detach_arraybuffer(env, buffer) != napi_ok) return nullptr;
  // A Local is returned in a register, and it is what Node-API calls a napi_value.
  return runtime.new_array_buffer(runtime.current_isolate(), std::move(store));
}

bool ClearDetachKey(napi_env env, const Runtime& runtime, napi_value buffer) {
  napi_value none = nullptr;
  if (runtime.set_detach_key == nullptr || napi_get_undefined(env, &none) != napi_ok) return false;
  runtime.set_detach_key(buffer, none);
  return true;
}

}  // namespace userdma
