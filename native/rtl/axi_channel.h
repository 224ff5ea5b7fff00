// One AXI channel whose source is the design: its handshake, and the rule that VALID and the payload must
// not change until READY (AMBA AXI, A3.2.1).
#pragma once

#include <cinttypes>
#include <cstdio>
#include <vector>

#include "part.h"
#include "wires.h"

namespace userdma::rtl {

inline std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%" PRIx64, value);
  return text;
}

class SourceChannel {
 public:
  SourceChannel(Context& context, const Ports& ports, const std::string& prefix, const std::string& channel,
                const std::vector<std::string>& payload)
      : context_(context),
        name_(prefix + channel),
        valid_(ports.find(name_ + "valid")),
        ready_(ports.find(name_ + "ready")) {
    for (const std::string& signal : payload) {
      const Wire wire = ports.find(name_ + signal);
      if (wire) payload_.push_back(wire);
    }
    uint32_t size = 0;
    for (const Wire& wire : payload_) size += wire.bytes();
    before_.resize(size);
  }

  void reset() {
    pending_ = false;
    ready_.set(0);
  }

  // True if a transfer happens at the coming edge.
  bool sample() {
    const bool valid = valid_.get() != 0;
    if (pending_) check(valid);
    const bool transfer = valid && ready_.get() != 0;
    pending_ = valid && !transfer;
    if (pending_) remember();
    return transfer;
  }

  void drive(bool ready) { ready_.set(ready ? 1 : 0); }

  // READY with the back-pressure of the interconnect.
  void driveAtRandom(bool room) {
    Traffic& traffic = context_.traffic;
    const bool pressed = traffic.random.percent(traffic.pressure) && (valid() || !context_.looking);
    drive(room && !pressed);
  }

  bool valid() const { return valid_.get() != 0; }
  const std::string& name() const { return name_; }

 private:
  void remember() {
    uint8_t* to = before_.data();
    for (const Wire& wire : payload_) {
      wire.copyOut(to);
      to += wire.bytes();
    }
  }

  void check(bool valid) {
    if (!valid) {
      context_.report(name_ + "valid was withdrawn before " + name_ + "ready");
      return;
    }
    const uint8_t* old = before_.data();
    for (const Wire& wire : payload_) {
      if (std::memcmp(old, wire.data(), wire.bytes()) != 0) {
        context_.report(name_ + ": the payload changed before " + name_ + "ready");
        return;
      }
      old += wire.bytes();
    }
  }

  Context& context_;
  std::string name_;
  Wire valid_;
  Wire ready_;
  std::vector<Wire> payload_;
  std::vector<uint8_t> before_;
  // The design offers a transfer that has not been taken yet.
  bool pending_ = false;
};

}  // namespace userdma::rtl
