// The ends of AXI4-Streams: a sink for the data that the design sends, and a source of the data that it
// receives (AMBA AXI-Stream, 2.2 and 2.4).
#pragma once

#include <deque>

#include "axi_channel.h"

namespace userdma::rtl {

// Receives the packets of the design.
class StreamHost {
 public:
  virtual ~StreamHost() = default;
  virtual void streamed(uint32_t stream, const uint8_t* bytes, uint32_t length, bool last) = 0;
};

class AxiStreamSink : public Part {
 public:
  AxiStreamSink(Context& context, StreamHost& host, uint32_t number, const Ports& ports,
                const std::string& prefix)
      : host_(host),
        number_(number),
        t_(context, ports, prefix, "t", {"data", "keep", "last"}),
        data_(ports.find(prefix + "tdata")),
        keep_(ports.find(prefix + "tkeep")),
        last_(ports.find(prefix + "tlast")) {}

  void reset() override { t_.reset(); }

  void sample() override {
    moved_ = t_.sample();
    if (!moved_) return;
    const uint64_t keep = keep_ ? keep_.get() : ~uint64_t{0};
    uint8_t bytes[64];
    uint32_t count = 0;
    for (uint32_t lane = 0; lane < data_.bytes() && lane < sizeof bytes; lane++)
      if ((keep >> lane & 1) != 0) bytes[count++] = data_.data()[lane];
    host_.streamed(number_, bytes, count, last_.get() != 0);
  }

  void drive() override { t_.driveAtRandom(true); }
  bool idle() const override { return !moved_ && !t_.valid(); }

 private:
  StreamHost& host_;
  uint32_t number_;
  SourceChannel t_;
  Wire data_, keep_, last_;
  bool moved_ = false;
};

class AxiStreamSource : public Part {
 public:
  AxiStreamSource(Context& context, const Ports& ports, const std::string& prefix)
      : context_(context),
        data_(ports.find(prefix + "tdata")),
        keep_(ports.find(prefix + "tkeep")),
        last_(ports.find(prefix + "tlast")),
        valid_(ports.find(prefix + "tvalid")),
        ready_(ports.find(prefix + "tready")) {}

  void push(const uint8_t* bytes, uint32_t length, bool last) {
    bytes_.insert(bytes_.end(), bytes, bytes + length);
    pushed_ += length;
    if (last) ends_.push_back(pushed_);
  }

  void reset() override {
    bytes_.clear();
    ends_.clear();
    pushed_ = sent_ = 0;
    valid_.set(0);
  }

  void sample() override { taken_ = valid_.get() != 0 && ready_.get() != 0; }

  void drive() override {
    if (taken_) valid_.set(0);
    if (valid_.get() != 0 || context_.traffic.random.percent(context_.traffic.pressure)) return;
    // A beat that is not full ends its packet. Until the end is known, a part of a beat waits.
    const uint64_t left = ends_.empty() ? ~uint64_t{0} : ends_.front() - sent_;
    const uint64_t count = std::min<uint64_t>(std::min<uint64_t>(data_.bytes(), left), bytes_.size());
    if (count == 0 && left != 0) return;
    if (count < data_.bytes() && count < left) return;
    offer(static_cast<uint32_t>(count), count == left);
  }

  bool idle() const override { return !taken_ && bytes_.empty() && ends_.empty() && valid_.get() == 0; }

 private:
  void offer(uint32_t count, bool last) {
    uint8_t lanes[64] = {};
    for (uint32_t lane = 0; lane < count; lane++) {
      lanes[lane] = bytes_.front();
      bytes_.pop_front();
    }
    sent_ += count;
    if (last) ends_.pop_front();
    data_.copyIn(lanes);
    keep_.set(count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1);
    last_.set(last);
    valid_.set(1);
  }

  Context& context_;
  Wire data_, keep_, last_, valid_, ready_;
  std::deque<uint8_t> bytes_;
  // The ends of packets, counted in bytes since the last reset.
  std::deque<uint64_t> ends_;
  uint64_t pushed_ = 0, sent_ = 0;
  bool taken_ = false;
};

}  // namespace userdma::rtl
