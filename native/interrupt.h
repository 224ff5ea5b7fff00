// Interrupts: an eventfd that the kernel signals, watched by the event loop of the calling environment.
#pragma once

#include "addon.h"

namespace userdma {

/** The eventfd to give to VFIO_DEVICE_SET_IRQS, or -1 when the handle is not live. It stays the interrupt's.
 */
int InterruptFd(const Addon& addon, Handle handle);

}  // namespace userdma
