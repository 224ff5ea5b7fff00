// The info structures of VFIO can grow. The kernel tells how much room it wants (argsz), and appends
// capabilities. They are chained by offsets from the start of the structure (struct
// vfio_info_cap_header).
#pragma once

#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ioctl.h"

namespace userdma {

/** Bytes as the kernel filled them in. The readers check every offset and count in them. */
class VfioInfo {
 public:
  /**
   * Asks with `seed` (its argsz is set here), and again with as much room as the kernel wants. 0 or
   * -errno.
   */
  template <class Info>
  int Read(int fd, unsigned long request, Info seed) {
    bytes_.assign(sizeof(Info), 0);
    for (;;) {
      seed.argsz = static_cast<uint32_t>(bytes_.size());
      std::memcpy(bytes_.data(), &seed, sizeof(Info));
      const int result = Ioctl(fd, request, bytes_.data());
      if (result < 0) return result;
      const uint32_t wanted = Head<Info>().argsz;
      if (wanted <= bytes_.size()) return 0;
      if (wanted > kMaxBytes) return -EOVERFLOW;
      bytes_.assign(wanted, 0);
    }
  }

  /** The fixed part. `Info` is the type that Read was called with. */
  template <class Info>
  Info Head() const {
    Info info;
    std::memcpy(&info, bytes_.data(), sizeof(Info));
    return info;
  }

  /**
   * Copies the fixed part of the first capability `id` of the chain that starts at `first` (0 means that
   * there is none). `*tail` gets the offset of its end, for ReadArray. Returns false if the capability is
   * absent, or if the chain leaves the bytes.
   */
  template <class Capability>
  bool Find(uint32_t first, uint16_t id, Capability* out, size_t* tail) const {
    size_t offset = first;
    for (size_t steps = bytes_.size() / sizeof(vfio_info_cap_header); offset != 0 && steps > 0; steps--) {
      vfio_info_cap_header header;
      if (!Copy(offset, &header, sizeof header)) return false;
      if (header.id == id) {
        *tail = offset + sizeof(Capability);
        return Copy(offset, out, sizeof(Capability));
      }
      offset = header.next;
    }
    return false;
  }

  /** `count` elements from `offset`; false if they are not all inside. */
  template <class Element>
  bool ReadArray(size_t offset, uint32_t count, std::vector<Element>* out) const {
    if (count > bytes_.size() / sizeof(Element)) return false;
    out->resize(count);
    return Copy(offset, out->data(), count * sizeof(Element));
  }

 private:
  static constexpr uint32_t kMaxBytes = 1 << 20;

  bool Copy(size_t offset, void* out, size_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return false;
    if (size > 0) std::memcpy(out, bytes_.data() + offset, size);
    return true;
  }

  std::vector<char> bytes_;
};

}  // namespace userdma
