// The parts of the bridge, which share one clock, and the host behind them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace userdma::rtl {

// A beat of a write burst, for the history of the bytes that it wrote.
struct BeatRecord {
  uint64_t clock;
  uint64_t strobe;
};

// The machine around the design: the library's simulated bus.
class Host {
 public:
  virtual ~Host() = default;
  // Reads memory at a bus address. Returns the AXI response: OKAY 0, SLVERR 2, DECERR 3. DECERR means
  // that the IOMMU refused a part, which then reads as zeros.
  virtual uint32_t read(uint64_t address, uint8_t* into, uint32_t length) = 0;
  virtual uint32_t write(uint64_t address, const uint8_t* from, uint32_t length) = 0;
  // The beats of the write burst whose bytes the next calls of `write` have. Only when the host keeps a
  // history. `port` is the number of the AXI4 master, `size` the bytes of a beat.
  virtual void burst(uint64_t address, uint32_t port, uint32_t size,
                     const std::vector<BeatRecord>& beats) = 0;
  // Wire 0 is INTx, wire 1 + n is MSI vector n.
  virtual void interrupt(uint32_t wire, bool level) = 0;
  // The design broke a rule of its bus.
  virtual void report(const std::string& text) = 0;
};

// xorshift64*: the same seed gives the same clocks on every machine.
class Random {
 public:
  void seed(uint64_t seed) { state_ = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du; }
  uint32_t below(uint32_t limit) { return limit == 0 ? 0 : next() % limit; }
  bool percent(uint32_t chance) { return chance != 0 && next() % 100 < chance; }

 private:
  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du) >> 32);
  }
  uint64_t state_ = 1;
};

// The behaviour of the interconnect. It is random by seed.
struct Traffic {
  Random random;
  // The percentage of clocks in which the interconnect is not ready, or holds a response back.
  uint32_t pressure = 0;
  // The longest wait before a response, in clocks.
  uint32_t latency = 0;
  // True if responses of different IDs may overtake each other.
  bool reorder = false;
};

struct Context {
  Host* host = nullptr;
  Traffic traffic;
  uint64_t clock = 0;
  // The bridge looks if the design rests: READY is up, and does not change at random, where nothing is
  // offered.
  bool looking = false;
  // Whether the host is told of the beats of write bursts.
  bool history = false;

  void report(const std::string& text) { host->report("clock " + std::to_string(clock) + ": " + text); }
};

// The order of a clock: every part samples the settled wires, the edge comes, every part drives its outputs.
class Part {
 public:
  virtual ~Part() = default;
  virtual void reset() = 0;
  virtual void sample() = 0;
  virtual void drive() = 0;
  // True if nothing is under way: this part does nothing until the design does something.
  virtual bool idle() const = 0;
};

}  // namespace userdma::rtl
