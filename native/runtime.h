// The JavaScript runtime that loaded the addon. Node-API is the same in every runtime, but the addon uses
// more than Node-API. Electron is Node.js with another C++ library, and with compressed pointers. Bun and
// Deno load Node-API addons, too, but end the process when an addon calls a function of libuv that they
// do not have.
#pragma once

#include <node_api.h>

#include <memory>

namespace userdma {

/** std::shared_ptr<v8::BackingStore> v8::ArrayBuffer::GetBackingStore(), see backing_store.h. */
using GetBackingStore = std::shared_ptr<void> (*)(void* array_buffer);

struct Runtime {
  /** True if the functions of libuv may be called. */
  bool libuv = false;
  /** nullptr if V8 does not export it, or if its result would have another layout than ours. */
  GetBackingStore get_backing_store = nullptr;
};

/** Asks `process` and the dynamic linker. A feature counts as absent unless it is known to be right. */
Runtime LookAtRuntime(napi_env env);

}  // namespace userdma
