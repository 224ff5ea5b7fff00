// Wrong answers: what a kernel of another version, a broken driver or a bug could say. The faithful answer is
// changed by chance, so that many of them stay plausible and the addon goes on with them.
#include <stdlib.h>
#include <string.h>

#include "fake_kernel.h"

static uint64_t state;  // 0: faithful

static uint64_t number(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static bool one_in(unsigned n) { return number() % n == 0; }

void fk_set_hostile(uint64_t seed) { state = seed == 0 ? 0 : seed * 0x9e3779b97f4a7c15u | 1; }

static uint64_t odd(void) {
  static const uint64_t odds[] = {0,          1,          2,           3,          4,
                                  7,          8,          16,          40,         4095,
                                  4096,       65536,      1 << 20,     0x7fffffff, 0x80000000,
                                  0xffffffff, 1ull << 32, 1ull << 52,  1ull << 53, (1ull << 53) - 1,
                                  1ull << 63, ~0ull,      ~0ull - 4095};
  return one_in(4) ? number() : odds[number() % (sizeof odds / sizeof *odds)];
}

size_t fk_room(unsigned long request, const void* argument) {
  const unsigned type = (request >> 8) & 0xff;
  const unsigned which = request & 0xff;
  uint32_t size = (uint32_t)(request >> 16) & 0x3fff;
  if (type == 'u') return 0;  // a list of the caller's
  if (type == ';') {
    // No structure: a number, a name, the descriptor of a container.
    if (which <= 102 || which == 104 || which == 106 || which == 111) return 0;
    memcpy(&size, argument, sizeof size);  // argsz
  }
  return size;
}

int fk_hostile(unsigned long request, void* argument, size_t size, int result) {
  static const int errors[] = {EINVAL, EBUSY, ENODEV, EPERM, ENOSPC, ENOMEM, EIO, ENOTTY, EFAULT, EEXIST};
  if (state == 0) return result;
  const unsigned type = (request >> 8) & 0xff;
  const unsigned which = request & 0xff;
  // Not a descriptor that the faithful answer has in it: the kernel made it, and only the addon can close it.
  const bool descriptor = type == 'H' || (type == 'U' && which == 10) ||
                          (type == ';' && (which == 106 || which == 117)) || type == 'u';
  if (!descriptor && size >= 8 && one_in(3)) {
    for (unsigned changes = 1 + number() % 3; changes > 0; changes--) {
      const uint64_t value = odd();
      const size_t width = one_in(2) ? 4 : 8;
      const size_t at = number() % (size / 4) * 4;
      if (at + width <= size) memcpy((char*)argument + at, &value, width);
    }
  }
  if (descriptor && result >= 0) return result;
  if (one_in(12)) return -errors[number() % (sizeof errors / sizeof *errors)];
  if (one_in(12)) return (int)(odd() & 0x7fffffff);
  return result;
}
