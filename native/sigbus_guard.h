// Turns the SIGBUS of a register access that the device does not answer into an error.
//
// A process has one handler of SIGBUS. When the first window to registers is made, the guard puts its own
// handler in front of the existing one, and passes on every SIGBUS that does not come from a register
// access. A handler that the program installs later replaces the guard until the next window is made. So
// call process.on('SIGBUS') before the first device is opened, or chain to the handler that it replaced.
#pragma once

namespace userdma {

/**
 * From now on an access of mmio_access.h that gets SIGBUS returns an error. Calling it again is cheap.
 */
void ArmSigbusGuard();

}  // namespace userdma
