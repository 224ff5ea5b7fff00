// The driver's register accesses: an AXI4-Lite master at the design's register slave (AMBA AXI, B1). One
// access at a time.
#pragma once

#include "axi_channel.h"

namespace userdma::rtl {

class AxiLite : public Part {
 public:
  AxiLite(Context& context, const Ports& ports, const std::string& prefix)
      : context_(context),
        prefix_(prefix),
        aw_address_(ports.find(prefix + "awaddr")),
        aw_valid_(ports.find(prefix + "awvalid")),
        aw_ready_(ports.find(prefix + "awready")),
        w_data_(ports.find(prefix + "wdata")),
        w_strobe_(ports.find(prefix + "wstrb")),
        w_valid_(ports.find(prefix + "wvalid")),
        w_ready_(ports.find(prefix + "wready")),
        b_response_(ports.find(prefix + "bresp")),
        b_(context, ports, prefix, "b", {"resp"}),
        ar_address_(ports.find(prefix + "araddr")),
        ar_valid_(ports.find(prefix + "arvalid")),
        ar_ready_(ports.find(prefix + "arready")),
        r_data_(ports.find(prefix + "rdata")),
        r_response_(ports.find(prefix + "rresp")),
        r_(context, ports, prefix, "r", {"data", "resp"}) {}

  uint32_t bytes() const { return r_data_.bytes(); }

  void beginRead(uint64_t address, uint32_t width) {
    lane_ = static_cast<uint32_t>(address % bytes());
    width_ = width;
    ar_address_.set(address - lane_);
    ar_valid_.set(1);
    state_ = State::reading;
  }

  void beginWrite(uint64_t address, uint32_t width, uint64_t value) {
    lane_ = static_cast<uint32_t>(address % bytes());
    aw_address_.set(address - lane_);
    aw_valid_.set(1);
    w_data_.set(value << (8 * lane_));
    w_strobe_.set(((uint64_t{1} << width) - 1) << lane_);
    w_valid_.set(1);
    state_ = State::writing;
  }

  bool busy() const { return state_ != State::idle; }
  // The value of the last read.
  uint64_t value() const { return value_; }
  // The response of the last access: OKAY is 0, SLVERR 2, DECERR 3.
  uint32_t response() const { return response_; }

  // Abandon an access that the design does not answer.
  void abandon() { reset(); }

  void reset() override {
    state_ = State::idle;
    aw_valid_.set(0);
    w_valid_.set(0);
    ar_valid_.set(0);
    b_.reset();
    r_.reset();
  }

  void sample() override {
    aw_done_ = aw_valid_.get() != 0 && aw_ready_.get() != 0;
    w_done_ = w_valid_.get() != 0 && w_ready_.get() != 0;
    ar_done_ = ar_valid_.get() != 0 && ar_ready_.get() != 0;
    if (b_.valid() && state_ != State::writing) unasked("b");
    if (r_.valid() && state_ != State::reading) unasked("r");
    if (b_.sample() && state_ == State::writing) finish(b_response_);
    if (r_.sample() && state_ == State::reading) {
      value_ = r_data_.get() >> (8 * lane_);
      if (width_ < 8) value_ &= (uint64_t{1} << (8 * width_)) - 1;
      finish(r_response_);
    }
  }

  void drive() override {
    if (aw_done_) aw_valid_.set(0);
    if (w_done_) w_valid_.set(0);
    if (ar_done_) ar_valid_.set(0);
    b_.drive(state_ == State::writing);
    r_.drive(state_ == State::reading);
  }

  bool idle() const override { return state_ == State::idle; }

 private:
  enum class State { idle, reading, writing };

  void finish(const Wire& response) {
    response_ = static_cast<uint32_t>(response.get());
    state_ = State::idle;
    told_ = false;
  }

  void unasked(const char* channel) {
    if (!told_) context_.report(prefix_ + channel + "valid: a response to no access");
    told_ = true;
  }

  Context& context_;
  std::string prefix_;
  Wire aw_address_, aw_valid_, aw_ready_, w_data_, w_strobe_, w_valid_, w_ready_, b_response_;
  SourceChannel b_;
  Wire ar_address_, ar_valid_, ar_ready_, r_data_, r_response_;
  SourceChannel r_;
  State state_ = State::idle;
  uint32_t lane_ = 0;
  uint32_t width_ = 4;
  uint64_t value_ = 0;
  uint32_t response_ = 0;
  bool aw_done_ = false, w_done_ = false, ar_done_ = false;
  // A response without an access is reported only once, until the next access ends.
  bool told_ = false;
};

}  // namespace userdma::rtl
