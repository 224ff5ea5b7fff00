// Holding the memory of an ArrayBuffer that is not ours, for as long as a device has it.
//
// A reference to the ArrayBuffer is not enough: it can be transferred, and whoever owns the memory then may
// free it, and the next to be given it would find the device in there. V8 counts the owners of a backing
// store, but Node-API has no call that takes a share. The V8 call that does is exported by every Node.js
// since 14 and is looked up at run time; where it is missing, such memory is not given to a device at all (it
// is bounced).
#pragma once

#include <node_api.h>

#include <memory>

namespace userdma {

/** Whether HoldBackingStore works in this process. */
bool CanHoldBackingStores();

/** A share in the memory of `buffer`, an ArrayBuffer that is not detached; nullptr where it cannot be had. */
std::shared_ptr<void> HoldBackingStore(napi_value buffer);

}  // namespace userdma
