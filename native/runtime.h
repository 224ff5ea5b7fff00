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
/** Local<ArrayBuffer> v8::ArrayBuffer::New(Isolate*, std::shared_ptr<BackingStore>). */
using NewArrayBuffer = napi_value (*)(void* isolate, std::shared_ptr<void> backing_store);
/** Isolate* v8::Isolate::GetCurrent(). */
using CurrentIsolate = void* (*)();
/** void v8::ArrayBuffer::SetDetachKey(Local<Value>). */
using SetDetachKey = void (*)(void* array_buffer, napi_value key);

struct Runtime {
  /** True if the functions of libuv may be called. */
  bool libuv = false;
  /** Functions of V8. Each is nullptr if V8 does not export it, or if it uses another layout than ours. */
  GetBackingStore get_backing_store = nullptr;
  NewArrayBuffer new_array_buffer = nullptr;
  CurrentIsolate current_isolate = nullptr;
  SetDetachKey set_detach_key = nullptr;
};

/** Asks `process` and the dynamic linker. A feature counts as absent unless it is known to be right. */
Runtime LookAtRuntime(napi_env env);

}  // namespace userdma
