// Calls of ioctl. Errors are returned as in the rest of the addon.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

namespace userdma {

/** The number that the kernel returns, a descriptor or a count; or -errno. */
template <class Argument>
int IoctlNumber(int fd, unsigned long request, Argument argument) {
  const int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

/**
 * 0 or -errno, for requests that return 0 when they succeed. Any other number comes from a driver for
 * which the request has another meaning. It becomes -EPROTO, because JavaScript would take a positive
 * number for a handle.
 */
template <class Argument>
int Ioctl(int fd, unsigned long request, Argument argument) {
  const int result = IoctlNumber(fd, request, argument);
  return result > 0 ? -EPROTO : result;
}

}  // namespace userdma
