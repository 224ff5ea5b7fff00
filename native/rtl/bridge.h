// A Verilated design between its clock and the host. The generated file of a design tells the meaning of its
// ports. Everything else is here.
//
// One clock:
//
//      parts sample  ->  clk = 1, eval  ->  parts drive  ->  clk = 0, eval  ->  read the interrupt wires
//
// So the design sees changed inputs between two edges, as in a synchronous system. If inputs change outside
// of a clock, an eval follows, so that parts always sample settled wires.
#pragma once

#include <memory>

#include "axi_lite.h"
#include "axi_memory.h"
#include "axi_stream.h"
#include "waves.h"

namespace userdma::rtl {

// The facts about the ports of a design, which the build found.
struct Layout {
  const char* clock;
  const char* reset;
  bool resetActiveLow;
  // Prefixes; nullptr ends a list.
  const char* registers;
  const char* const* memories;
  const char* const* sinks;
  const char* const* sources;
  // Names of interrupt ports; nullptr for none. Each bit of `vectors` is an MSI vector.
  const char* intx;
  const char* vectors;
};

enum class Outcome : uint8_t { okay = 0, error = 1, timeout = 2 };

template <typename Design, typename Root>
class Bridge {
 public:
  using Connect = void (*)(Design&, Ports&);

  Bridge(Host& host, StreamHost& streams, const Layout& layout, Connect connect) : top_(&verilated_) {
    context_.host = &host;
    context_.traffic.random.seed(1);
    connect(top_, ports_);
    clock_ = ports_.find(layout.clock);
    reset_ = ports_.find(layout.reset);
    active_ = layout.resetActiveLow ? 0 : 1;
    if (layout.intx != nullptr) intx_ = ports_.find(layout.intx);
    if (layout.vectors != nullptr) vectors_ = ports_.find(layout.vectors);
    registers_ = add(std::make_unique<AxiLite>(context_, ports_, layout.registers));
    uint32_t number = 0;
    for (const char* const* prefix = layout.memories; *prefix != nullptr; prefix++)
      add(std::make_unique<AxiMemory>(context_, number++, ports_, *prefix));
    number = 0;
    for (const char* const* prefix = layout.sinks; *prefix != nullptr; prefix++)
      add(std::make_unique<AxiStreamSink>(context_, streams, number++, ports_, *prefix));
    for (const char* const* prefix = layout.sources; *prefix != nullptr; prefix++)
      sources_.push_back(add(std::make_unique<AxiStreamSource>(context_, ports_, *prefix)));
    reset();
  }

  // Resets the design, as at power-up. The clock counter continues.
  void reset() {
    for (const auto& part : parts_) part->reset();
    reset_.set(active_);
    for (int i = 0; i < RESET_CLOCKS; i++) step();
    reset_.set(1 - active_);
    top_.eval();
  }

  Outcome read(uint64_t address, uint32_t width) {
    registers_->beginRead(address, width);
    top_.eval();
    return finishAccess();
  }

  Outcome write(uint64_t address, uint32_t width, uint64_t value) {
    registers_->beginWrite(address, width, value);
    top_.eval();
    return finishAccess();
  }

  // The value of the last read.
  uint64_t value() const { return registers_->value(); }

  // Runs up to so many clocks, and fewer if nothing moves any more.
  void run(uint64_t clocks) {
    for (uint64_t end = context_.clock + clocks; context_.clock < end && moving();) step();
  }

  // True if another clock could change anything without an input. The design is at rest if the bridge is
  // idle and no wire and no register changes over a clock. It then stays at rest until an input changes.
  // Finding that out takes a few clocks.
  bool moving() {
    if (busy()) return true;
    if (settled_ == context_.clock) return false;
    if (context_.clock < look_) return true;
    context_.looking = true;
    const bool still = isStill();
    context_.looking = false;
    if (busy()) return true;
    // A comparison costs as much as several clocks, so a design that counts by itself is checked less
    // often.
    if (still)
      settled_ = context_.clock;
    else
      look_ = context_.clock + LOOK_EVERY;
    return !still;
  }

  void push(uint32_t source, const uint8_t* bytes, uint32_t length, bool last) {
    if (source < sources_.size()) sources_[source]->push(bytes, length, last);
  }

  // Holds an input of the design at a value. Returns false if the design has no input of that name.
  bool pin(const std::string& name, uint64_t value) {
    Wire wire = ports_.find(name);
    if (!wire) return false;
    wire.set(value);
    top_.eval();
    return true;
  }

  void mark(const std::string& text) { waves_.mark(text); }
  Waves<Design>& waves() { return waves_; }
  Context& context() { return context_; }
  Design& top() { return top_; }

  // The number of clocks after which an access without an answer is abandoned.
  uint64_t limit = 100'000;

 private:
  static constexpr int RESET_CLOCKS = 4;
  // After an access a design needs this many clocks to come to rest, e.g. to lower its VALID.
  static constexpr int SETTLING_CLOCKS = 3;
  static constexpr uint64_t LOOK_EVERY = 16;

  bool busy() const {
    for (const auto& part : parts_)
      if (!part->idle()) return true;
    return false;
  }

  template <typename Made>
  Made* add(std::unique_ptr<Made> part) {
    Made* made = part.get();
    parts_.push_back(std::move(part));
    return made;
  }

  Root* root() { return top_.rootp; }

  // True if a clock passes over which nothing changes, among the next few.
  bool isStill() {
    for (int tries = 0; tries < SETTLING_CLOCKS; tries++) {
      std::memcpy(&before_, root(), sizeof before_);
      step();
      if (busy()) return false;
      if (std::memcmp(&before_, root(), sizeof before_) == 0) return true;
    }
    return false;
  }

  Outcome finishAccess() {
    for (uint64_t end = context_.clock + limit; registers_->busy(); step()) {
      if (context_.clock < end) continue;
      registers_->abandon();
      return Outcome::timeout;
    }
    return registers_->response() == 0 ? Outcome::okay : Outcome::error;
  }

  void step() {
    for (const auto& part : parts_) part->sample();
    clock_.set(1);
    top_.eval();
    waves_.dump(2 * context_.clock, context_.clock);
    context_.clock++;
    for (const auto& part : parts_) part->drive();
    clock_.set(0);
    top_.eval();
    waves_.dump(2 * context_.clock - 1, context_.clock);
    watchInterrupts();
  }

  void watchInterrupts() {
    const uint64_t levels = (vectors_.get() << 1) | (intx_.get() & 1);
    const uint64_t changed = levels ^ levels_;
    if (changed == 0) return;
    levels_ = levels;
    for (uint32_t wire = 0; wire < 64; wire++)
      if ((changed >> wire & 1) != 0) context_.host->interrupt(wire, (levels >> wire & 1) != 0);
  }

  VerilatedContext verilated_;
  Design top_;
  Context context_;
  Ports ports_;
  Wire clock_, reset_, intx_, vectors_;
  uint64_t active_ = 0;
  uint64_t levels_ = 0;
  std::vector<std::unique_ptr<Part>> parts_;
  AxiLite* registers_ = nullptr;
  std::vector<AxiStreamSource*> sources_;
  Waves<Design> waves_{top_, verilated_};
  alignas(Root) unsigned char before_[sizeof(Root)];
  uint64_t look_ = 0;
  uint64_t settled_ = ~uint64_t{0};
};

}  // namespace userdma::rtl
