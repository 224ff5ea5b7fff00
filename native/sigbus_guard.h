// What becomes of a register access that the device does not answer.
#pragma once

namespace userdma {

/** From now on an access of mmio_access.h that gets SIGBUS fails instead. Cheap to call again. */
void ArmSigbusGuard();

}  // namespace userdma
