// Calls of ioctl, with their errors as the rest of the addon has them.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

namespace userdma {

/** The number that the kernel answers, a descriptor or a count; or -errno. */
template <class Argument>
int IoctlNumber(int fd, unsigned long request, Argument argument) {
  const int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

/**
 * 0 or -errno, for requests that answer 0 when they succeed. Any other number comes from a driver that means
 * another request by it: -EPROTO, since a positive number would pass for a handle in JavaScript.
 */
template <class Argument>
int Ioctl(int fd, unsigned long request, Argument argument) {
  const int result = IoctlNumber(fd, request, argument);
  return result > 0 ? -EPROTO : result;
}

}  // namespace userdma
