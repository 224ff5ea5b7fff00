// Entry point: one Addon per environment, however often and in however many workers this file is loaded.
#include "addon.h"

#include <cstdlib>
#include <memory>
#include <utility>

#include "mmio.h"

namespace userdma {

Addon::Addon(const Runtime& found)
    : runtime(found),
      sequences(std::make_shared<HandleTable<MmioSequence>>(0)),
      frame(std::make_shared<MmioFrame>()) {}

bool Call::Text(size_t index, size_t max, std::string* out) const {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, arguments_[index], nullptr, 0, &length) != napi_ok || length > max) {
    return false;
  }
  std::string text(length + 1, '\0');
  if (napi_get_value_string_utf8(env, arguments_[index], text.data(), text.size(), &length) != napi_ok) {
    return false;
  }
  text.resize(length);
  if (text.find('\0') != std::string::npos) return false;
  *out = std::move(text);
  return true;
}

bool Call::Buffer(size_t index, void** data, size_t* length) const {
  bool is_buffer = false;
  bool detached = false;
  if (napi_is_arraybuffer(env, arguments_[index], &is_buffer) != napi_ok || !is_buffer) return false;
  if (napi_is_detached_arraybuffer(env, arguments_[index], &detached) != napi_ok || detached) return false;
  return napi_get_arraybuffer_info(env, arguments_[index], data, length) == napi_ok;
}

namespace {

/** The instance data of `env`. If there can be none, it throws an exception and returns nullptr. */
Addon* Attach(napi_env env) {
  try {
    auto addon = std::make_unique<Addon>(LookAtRuntime(env));
    const napi_finalize destroy = [](napi_env, void* data, void*) { delete static_cast<Addon*>(data); };
    if (napi_set_instance_data(env, addon.get(), destroy, nullptr) == napi_ok) return addon.release();
  } catch (const std::exception&) {
    napi_throw_error(env, "ENOMEM", "userdma: no memory for the state of the addon");
  }
  return nullptr;
}

napi_value Init(napi_env env, napi_value exports) {
  if (Attach(env) == nullptr) return nullptr;
  napi_value testing = nullptr;
  napi_create_object(env, &testing);
  InitCopy(env, exports);
  InitRegion(env, exports);
  InitDmaBuf(env, exports);
  InitMmio(env, exports, testing);
  InitMmioSequence(env, exports);
  InitInterrupt(env, exports, testing);
  InitUio(env, exports);
  InitMappedMemory(env, exports);
  InitIommufd(env, exports);
  InitVfioContainer(env, exports);
  InitVfioDevice(env, exports);
  InitUDmaBuf(env, exports);
  // Only tests ask for this object: no call of a driver accepts a device that is not real.
  if (kTesting && getenv("USERDMA_TESTING") != nullptr)
    napi_set_named_property(env, exports, "testing", testing);
  return exports;
}

}  // namespace

}  // namespace userdma

NAPI_MODULE_INIT() { return userdma::Init(env, exports); }
