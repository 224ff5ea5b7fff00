// Holding the memory of an ArrayBuffer that is not ours, for as long as a device has it.
//
// A reference to the ArrayBuffer is not enough: it can be transferred, and its new owner may free the memory
// while the device still reaches it, so that the next allocation gets it. V8 counts the owners of a backing
// store, but Node-API has no call that takes a share. The V8 call that does is exported by every Node.js
// since 14 and is looked up when the addon is loaded (runtime.h); where it is missing, or would answer in
// another layout, a device gets no such memory (it is bounced).
#pragma once

#include <node_api.h>

#include <memory>

#include "runtime.h"

namespace userdma {

/** A share in the memory of `buffer`, an ArrayBuffer that is not detached; nullptr where it cannot be had. */
std::shared_ptr<void> HoldBackingStore(const Runtime& runtime, napi_value buffer);

}  // namespace userdma
