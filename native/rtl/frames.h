// The bytes between a simulator process and the host (docs/rtl.md, "The protocol"): frames of a length, a
// type and a body.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace userdma::rtl {

constexpr uint16_t PROTOCOL_VERSION = 1;

enum class Frame : uint8_t {
  hello = 0x01,
  read = 0x02,
  write = 0x03,
  run = 0x04,
  reset = 0x05,
  set = 0x06,
  waves = 0x07,
  mark = 0x08,
  streamIn = 0x09,
  dmaReadAnswer = 0x10,
  dmaWriteAnswer = 0x11,
  done = 0x80,
  description = 0x81,
  dmaRead = 0x90,
  dmaWrite = 0x91,
  interrupt = 0x92,
  report = 0x93,
  streamOut = 0x94,
  burst = 0x95,
};

// A frame under construction: little-endian numbers, then bytes.
class FrameWriter {
 public:
  explicit FrameWriter(Frame type) : bytes_{0, 0, 0, 0, static_cast<uint8_t>(type)} {}

  template <typename Number>
  FrameWriter& add(Number number) {
    return add(&number, sizeof number);
  }
  FrameWriter& add(const void* bytes, size_t length) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    bytes_.insert(bytes_.end(), from, from + length);
    return *this;
  }

  // If the host has closed its end of the pipe, it is gone, and there is no reason to simulate on.
  void send(int fd) {
    const uint32_t length = static_cast<uint32_t>(bytes_.size() - 4);
    std::memcpy(bytes_.data(), &length, sizeof length);
    for (size_t done = 0; done < bytes_.size();) {
      const ssize_t step = ::write(fd, bytes_.data() + done, bytes_.size() - done);
      if (step < 0 && errno == EINTR) continue;
      if (step <= 0) std::_Exit(0);
      done += static_cast<size_t>(step);
    }
  }

 private:
  std::vector<uint8_t> bytes_;
};

class FrameReader {
 public:
  // Waits for a frame.
  void receive(int fd) {
    uint32_t length = 0;
    fill(fd, reinterpret_cast<uint8_t*>(&length), sizeof length);
    body_.resize(length);
    fill(fd, body_.data(), length);
    at_ = 1;
  }

  Frame type() const { return body_.empty() ? Frame{} : Frame{body_[0]}; }

  // The next number of the body; 0 past its end.
  template <typename Number>
  Number next() {
    Number number = 0;
    if (left() >= sizeof number) std::memcpy(&number, body_.data() + at_, sizeof number);
    at_ += sizeof number;
    return number;
  }
  // The rest of the body.
  const uint8_t* bytes() const { return body_.data() + at_; }
  size_t left() const { return at_ < body_.size() ? body_.size() - at_ : 0; }

 private:
  void fill(int fd, uint8_t* to, size_t length) {
    while (length > 0) {
      if (from_ == end_) refill(fd);
      const size_t step = std::min(length, end_ - from_);
      std::memcpy(to, buffer_ + from_, step);
      from_ += step;
      to += step;
      length -= step;
    }
  }

  void refill(int fd) {
    ssize_t got;
    do got = ::read(fd, buffer_, sizeof buffer_);
    while (got < 0 && errno == EINTR);
    if (got <= 0) std::_Exit(0);
    from_ = 0;
    end_ = static_cast<size_t>(got);
  }

  uint8_t buffer_[65536];
  size_t from_ = 0, end_ = 0;
  std::vector<uint8_t> body_;
  size_t at_ = 1;
};

}  // namespace userdma::rtl
