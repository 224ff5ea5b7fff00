// Holding the memory of an ArrayBuffer of the program for as long as a device has it.
//
// A reference to the ArrayBuffer is not enough. The program can transfer it, and its new owner may free
// the memory while the device still reaches it. The next allocation may then get that memory. V8 counts
// the owners of a backing store, but Node-API has no call that takes a share of it. The V8 call that does
// is exported by every Node.js since 14. The addon looks it up when it is loaded (runtime.h). If the call
// is missing, or would return another layout, such memory is not given to a device (it is bounced).
#pragma once

#include <node_api.h>

#include <memory>

#include "runtime.h"

namespace userdma {

/**
 * A share in the memory of `buffer`, an ArrayBuffer that is not detached; nullptr if no share can be
 * taken.
 */
std::shared_ptr<void> HoldBackingStore(const Runtime& runtime, napi_value buffer);

/** Whether MoveBackingStore can be called. */
bool CanMoveBackingStore(const Runtime& runtime);

/**
 * A new ArrayBuffer with the memory of `buffer`, which is detached. nullptr if it could not be detached.
 * What Node.js has noted on `buffer` (e.g. that a transfer list refuses it) is not on the new one.
 */
napi_value MoveBackingStore(napi_env env, const Runtime& runtime, napi_value buffer);

/** Anybody may detach `buffer` from here on, without a key. False if this runtime has no call for that. */
bool ClearDetachKey(napi_env env, const Runtime& runtime, napi_value buffer);

}  // namespace userdma
