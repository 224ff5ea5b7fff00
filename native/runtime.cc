#include "runtime.h"

#include <dlfcn.h>

namespace userdma {
namespace {

/** `object[name]`, or nullptr. */
napi_value Property(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  if (object == nullptr || napi_get_named_property(env, object, name, &value) != napi_ok) return nullptr;
  return value;
}

bool IsString(napi_env env, napi_value value) {
  napi_valuetype type;
  return value != nullptr && napi_typeof(env, value, &type) == napi_ok && type == napi_string;
}

/** True if a variable of the build exists and is off. */
bool IsOff(napi_env env, napi_value variables, const char* name) {
  napi_value value = Property(env, variables, name);
  napi_valuetype type;
  if (value == nullptr || napi_typeof(env, value, &type) != napi_ok) return false;
  bool off = false;
  if (type != napi_number && type != napi_boolean) return false;
  napi_value flag = nullptr;
  if (napi_coerce_to_bool(env, value, &flag) != napi_ok) return false;
  return napi_get_value_bool(env, flag, &off) == napi_ok && !off;
}

template <typename Function>
void Find(const char* name, Function* out) {
  *out = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

/**
 * The mangled name of a function tells which C++ library its arguments come from, but not which one its
 * result comes from. `New` takes the type that GetBackingStore returns: if V8 was built with libc++, the
 * type is std::__1::shared_ptr there, and this name does not exist. Then no function of V8 is used.
 */
void FindV8(Runtime* out) {
  Find("_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE", &out->new_array_buffer);
  if (out->new_array_buffer == nullptr) return;
  Find("_ZN2v811ArrayBuffer15GetBackingStoreEv", &out->get_backing_store);
  Find("_ZN2v87Isolate10GetCurrentEv", &out->current_isolate);
  Find("_ZN2v811ArrayBuffer12SetDetachKeyENS_5LocalINS_5ValueEEE", &out->set_detach_key);
}

}  // namespace

Runtime LookAtRuntime(napi_env env) {
  napi_value global = nullptr;
  if (napi_get_global(env, &global) != napi_ok) return {};
  napi_value process = Property(env, global, "process");
  napi_value versions = Property(env, process, "versions");
  const auto has = [&](const char* name) { return IsString(env, Property(env, versions, name)); };
  Runtime runtime;
  runtime.libuv = has("node") && has("uv") && !has("bun") && !has("deno");
  napi_value variables = Property(env, Property(env, process, "config"), "variables");
  const bool plain_pointers = IsOff(env, variables, "v8_enable_pointer_compression");
  if (runtime.libuv && !has("electron") && plain_pointers) FindV8(&runtime);
  napi_value exception;  // the error that a getter threw
  napi_get_and_clear_last_exception(env, &exception);
  return runtime;
}

}  // namespace userdma
