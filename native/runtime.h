// The JavaScript runtime that loaded the addon. Node-API is the same everywhere, and what else the addon uses
// is not: Electron is Node.js with another C++ library, and with compressed pointers; Bun and Deno load
// Node-API addons too, but end the process when one calls a function of libuv that they do not have.
#pragma once

#include <node_api.h>

#include <memory>

namespace userdma {

/** std::shared_ptr<v8::BackingStore> v8::ArrayBuffer::GetBackingStore(), see backing_store.h. */
using GetBackingStore = std::shared_ptr<void> (*)(void* array_buffer);

struct Runtime {
  /** Whether the functions of libuv may be called. */
  bool libuv = false;
  /** nullptr where V8 does not export it, or where its answer would have another layout than ours. */
  GetBackingStore get_backing_store = nullptr;
};

/** Asks `process` and the dynamic linker. Anything that is not known to be right counts as absent. */
Runtime LookAtRuntime(napi_env env);

}  // namespace userdma
