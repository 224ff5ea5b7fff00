// Turns the SIGBUS of a register access that the device does not answer into an error.
//
// A process has one handler of SIGBUS. The guard puts its own in front of the one that it finds when a window
// to registers is made, and hands on every SIGBUS that is not of a register access. A handler that the
// program installs afterwards takes the guard away until the next window is made: process.on('SIGBUS')
// belongs before the first device is opened, or reaches the guard by chaining to the handler that it
// replaced.
#pragma once

namespace userdma {

/** From now on an access of mmio_access.h that gets SIGBUS fails instead. Cheap to call again. */
void ArmSigbusGuard();

}  // namespace userdma
