// Memory as the design's DMA master sees it: an AXI4 slave in front of the host's bus (AMBA AXI, A3 and A4).
//
//      AR ---> read the host's memory ---> reads_ ----(latency, order)---> R, beat by beat
//      AW ---> addresses_ --.
//      W  ---> beats_ ------'--> whole burst ---> responses_ ----(latency, order)---> write memory, then B
//
// Memory changes when the response is given, and not before. So if a design interrupts without waiting for
// the response, the driver sees wrong data. If the host's IOMMU refuses an access, the response is DECERR.
// Bursts are INCR, of any size up to the data bus, at any address. Responses of one ID keep their order.
// Those of different IDs may overtake each other if the traffic allows it.
#pragma once

#include <algorithm>
#include <deque>

#include "axi_channel.h"

namespace userdma::rtl {

class AxiMemory : public Part {
 public:
  AxiMemory(Context& context, uint32_t number, const Ports& ports, const std::string& prefix)
      : context_(context),
        number_(number),
        prefix_(prefix),
        ar_(context, ports, prefix, "ar", ADDRESS_PAYLOAD),
        aw_(context, ports, prefix, "aw", ADDRESS_PAYLOAD),
        w_(context, ports, prefix, "w", {"data", "strb", "last"}),
        ar_wires_(ports, prefix + "ar"),
        aw_wires_(ports, prefix + "aw"),
        w_data_(ports.find(prefix + "wdata")),
        w_strobe_(ports.find(prefix + "wstrb")),
        w_last_(ports.find(prefix + "wlast")),
        r_data_(ports.find(prefix + "rdata")),
        r_id_(ports.find(prefix + "rid")),
        r_last_(ports.find(prefix + "rlast")),
        r_response_(ports.find(prefix + "rresp")),
        r_valid_(ports.find(prefix + "rvalid")),
        r_ready_(ports.find(prefix + "rready")),
        b_id_(ports.find(prefix + "bid")),
        b_response_(ports.find(prefix + "bresp")),
        b_valid_(ports.find(prefix + "bvalid")),
        b_ready_(ports.find(prefix + "bready")),
        width_(r_data_ ? r_data_.bytes() : w_data_.bytes()) {}

  void reset() override {
    ar_.reset();
    aw_.reset();
    w_.reset();
    reads_.clear();
    addresses_.clear();
    beats_.clear();
    responses_.clear();
    reading_ = -1;
    r_valid_.set(0);
    b_valid_.set(0);
  }

  void sample() override {
    r_taken_ = r_valid_.get() != 0 && r_ready_.get() != 0;
    b_taken_ = b_valid_.get() != 0 && b_ready_.get() != 0;
    moved_ = r_taken_ || b_taken_;
    if (ar_.sample()) {
      moved_ = true;
      read(take(ar_wires_, ar_.name()));
    }
    if (aw_.sample()) {
      moved_ = true;
      addresses_.push_back(take(aw_wires_, aw_.name()));
    }
    if (w_.sample()) {
      moved_ = true;
      takeBeat();
    }
    while (finishWrite()) {
    }
  }

  void drive() override {
    ar_.driveAtRandom(reads_.size() < OUTSTANDING);
    aw_.driveAtRandom(addresses_.size() + responses_.size() < OUTSTANDING);
    w_.driveAtRandom(beats_.size() < MOST_BEATS);
    driveRead();
    driveResponse();
  }

  bool idle() const override {
    return !moved_ && reads_.empty() && addresses_.empty() && beats_.empty() && responses_.empty() &&
           !ar_.valid() && !aw_.valid() && !w_.valid();
  }

 private:
  // The most bursts under way at once, in each direction.
  static constexpr size_t OUTSTANDING = 16;
  // Data may run ahead of its address by one burst.
  static constexpr size_t MOST_BEATS = 256;
  static constexpr uint64_t BOUNDARY = 4096;
  static inline const std::vector<std::string> ADDRESS_PAYLOAD = {"id", "addr", "len", "size", "burst"};

  struct AddressWires {
    AddressWires(const Ports& ports, const std::string& name)
        : id(ports.find(name + "id")),
          address(ports.find(name + "addr")),
          length(ports.find(name + "len")),
          size(ports.find(name + "size")),
          burst(ports.find(name + "burst")) {}
    Wire id, address, length, size, burst;
  };

  struct Burst {
    uint64_t id;
    uint64_t address;
    uint32_t beats;
    // The bytes of a beat.
    uint32_t size;
    // The bytes from `address` to the end of the last beat.
    uint32_t bytes() const { return beats * size - static_cast<uint32_t>(address % size); }
    // The address of the first byte of a beat.
    uint64_t at(uint32_t beat) const { return beat == 0 ? address : address - address % size + beat * size; }
  };

  struct Read {
    Burst burst;
    std::vector<uint8_t> bytes;
    uint32_t response;
    uint64_t due;
    uint32_t beat = 0;
  };

  struct Beat {
    std::vector<uint8_t> data;
    uint64_t strobe;
    bool last;
    uint64_t clock;
  };

  // Adjacent strobed bytes.
  struct Run {
    uint64_t address;
    std::vector<uint8_t> bytes;
  };

  struct Response {
    Burst burst;
    std::vector<Run> runs;
    uint64_t due;
    // Empty when the host keeps no history.
    std::vector<BeatRecord> beats;
  };

  Burst take(const AddressWires& wires, const std::string& name) {
    Burst burst{wires.id.get(), wires.address.get(), static_cast<uint32_t>(wires.length.get()) + 1,
                wires.size ? 1u << wires.size.get() : width_};
    if (burst.size > width_) {
      context_.report(name + ": beats of " + std::to_string(burst.size) + " bytes on a bus of " +
                      std::to_string(width_));
      burst.size = width_;
    }
    if (wires.burst && wires.burst.get() != 1) context_.report(name + ": the burst is not INCR");
    const uint64_t last = burst.address + burst.bytes() - 1;
    if (burst.address / BOUNDARY != last / BOUNDARY) {
      context_.report(name + ": the burst at " + hex(burst.address) + " of " + std::to_string(burst.bytes()) +
                      " bytes crosses a 4 KiB boundary");
    }
    return burst;
  }

  void read(const Burst& burst) {
    Read read{burst, std::vector<uint8_t>(burst.bytes()), 0, due()};
    read.response = context_.host->read(burst.address, read.bytes.data(), burst.bytes());
    reads_.push_back(std::move(read));
  }

  uint64_t due() {
    Traffic& traffic = context_.traffic;
    return context_.clock + traffic.random.below(traffic.latency + 1);
  }

  void takeBeat() {
    Beat beat{std::vector<uint8_t>(width_), w_strobe_ ? w_strobe_.get() : mask(width_), w_last_.get() != 0,
              context_.clock};
    w_data_.copyOut(beat.data.data());
    beats_.push_back(std::move(beat));
  }

  // Writes the oldest burst if it has all its data. Returns true if it did.
  bool finishWrite() {
    if (addresses_.empty() || beats_.size() < addresses_.front().beats) {
      checkEarlyLast();
      return false;
    }
    const Burst burst = addresses_.front();
    addresses_.pop_front();
    checkLast(burst);
    std::vector<Run> runs;
    std::vector<BeatRecord> records;
    for (uint32_t i = 0; i < burst.beats; i++) {
      gather(burst, i, runs);
      if (context_.history) records.push_back({beats_[i].clock, beats_[i].strobe});
    }
    beats_.erase(beats_.begin(), beats_.begin() + burst.beats);
    early_told_ = false;
    responses_.push_back({burst, std::move(runs), due(), std::move(records)});
    return true;
  }

  void checkLast(const Burst& burst) {
    for (uint32_t i = 0; i < burst.beats; i++) {
      if (beats_[i].last == (i + 1 == burst.beats)) continue;
      if (!early_told_) {
        context_.report(prefix_ + "wlast: in beat " + std::to_string(i + 1) + " of " +
                        std::to_string(burst.beats) + (beats_[i].last ? " already" : " it is missing"));
      }
      return;
    }
  }

  // WLAST came before the burst is complete. The rest may never come, so this is reported at once.
  void checkEarlyLast() {
    if (early_told_ || addresses_.empty() || beats_.empty() || !beats_.back().last) return;
    early_told_ = true;
    context_.report(prefix_ + "wlast: in beat " + std::to_string(beats_.size()) + " of " +
                    std::to_string(addresses_.front().beats) + " already");
  }

  // Runs of strobed bytes are collected over the whole burst, so that the host sees a few long writes.
  void gather(const Burst& burst, uint32_t index, std::vector<Run>& runs) {
    const Beat& beat = beats_[index];
    const uint64_t from = burst.at(index);
    const uint64_t container = from - from % burst.size;
    const uint32_t first = static_cast<uint32_t>(from % width_);
    const uint32_t end = static_cast<uint32_t>(container % width_) + burst.size;
    const uint64_t inside = mask(end) & ~mask(first);
    const uint64_t strobe = beat.strobe & mask(width_);
    if ((strobe & ~inside) != 0) {
      context_.report(prefix_ + "wstrb: " + hex(strobe) + " is outside the bytes of beat " +
                      std::to_string(index + 1) + " at " + hex(from));
    }
    for (uint32_t lane = 0; lane < width_; lane++) {
      if ((strobe >> lane & 1) == 0) continue;
      const uint64_t address = from - first + lane;
      if (runs.empty() || runs.back().address + runs.back().bytes.size() != address)
        runs.push_back({address, {}});
      runs.back().bytes.push_back(beat.data[lane]);
    }
  }

  // Returns the response of the first part that failed, or OKAY.
  uint32_t write(const Response& response) {
    uint32_t worst = 0;
    if (!response.beats.empty()) {
      context_.host->burst(response.burst.address, number_, response.burst.size, response.beats);
    }
    for (const Run& run : response.runs) {
      const uint32_t answer =
          context_.host->write(run.address, run.bytes.data(), static_cast<uint32_t>(run.bytes.size()));
      if (worst == 0) worst = answer;
    }
    return worst;
  }

  static uint64_t mask(uint32_t lanes) { return lanes >= 64 ? ~uint64_t{0} : (uint64_t{1} << lanes) - 1; }

  void driveRead() {
    if (r_taken_) {
      Read& read = reads_[static_cast<size_t>(reading_)];
      r_valid_.set(0);
      if (++read.beat == read.burst.beats) {
        reads_.erase(reads_.begin() + reading_);
        reading_ = -1;
      }
    }
    if (r_valid_.get() != 0) return;
    if (reading_ < 0) reading_ = choose(reads_, [](const Read& read) { return read.burst.id; });
    Traffic& traffic = context_.traffic;
    if (reading_ < 0 || traffic.random.percent(traffic.pressure)) return;
    offer(reads_[static_cast<size_t>(reading_)]);
  }

  void offer(const Read& read) {
    const Burst& burst = read.burst;
    const uint64_t from = burst.at(read.beat);
    const uint32_t count = static_cast<uint32_t>(burst.at(read.beat + 1) - from);
    uint8_t lanes[128] = {};
    std::memcpy(lanes + from % width_, read.bytes.data() + (from - burst.address), count);
    r_data_.copyIn(lanes);
    r_id_.set(burst.id);
    r_response_.set(read.response);
    r_last_.set(read.beat + 1 == burst.beats);
    r_valid_.set(1);
  }

  void driveResponse() {
    if (b_taken_) b_valid_.set(0);
    Traffic& traffic = context_.traffic;
    if (b_valid_.get() != 0 || responses_.empty() || traffic.random.percent(traffic.pressure)) return;
    const int chosen = choose(responses_, [](const Response& response) { return response.burst.id; });
    if (chosen < 0) return;
    const Response& response = responses_[static_cast<size_t>(chosen)];
    b_id_.set(response.burst.id);
    b_response_.set(write(response));
    b_valid_.set(1);
    responses_.erase(responses_.begin() + chosen);
  }

  // The index of an entry that is due and is the oldest of its ID; -1 if there is none.
  template <typename Entry, typename IdOf>
  int choose(const std::deque<Entry>& entries, IdOf idOf) {
    int chosen = -1;
    uint32_t seen = 0;
    for (size_t i = 0; i < entries.size(); i++) {
      if (entries[i].due > context_.clock || !isOldest(entries, i, idOf)) continue;
      if (chosen < 0 || context_.traffic.random.below(++seen + 1) == 0) chosen = static_cast<int>(i);
      if (!context_.traffic.reorder) return chosen;
    }
    return chosen;
  }

  template <typename Entry, typename IdOf>
  bool isOldest(const std::deque<Entry>& entries, size_t index, IdOf idOf) {
    if (!context_.traffic.reorder) return index == 0;
    for (size_t i = 0; i < index; i++)
      if (idOf(entries[i]) == idOf(entries[index])) return false;
    return true;
  }

  Context& context_;
  uint32_t number_;
  std::string prefix_;
  SourceChannel ar_, aw_, w_;
  AddressWires ar_wires_, aw_wires_;
  Wire w_data_, w_strobe_, w_last_;
  Wire r_data_, r_id_, r_last_, r_response_, r_valid_, r_ready_;
  Wire b_id_, b_response_, b_valid_, b_ready_;
  uint32_t width_;
  std::deque<Read> reads_;
  std::deque<Burst> addresses_;
  std::deque<Beat> beats_;
  std::deque<Response> responses_;
  // The index of the read whose beats are on the R channel; -1 between bursts.
  int reading_ = -1;
  bool r_taken_ = false, b_taken_ = false, moved_ = false, early_told_ = false;
};

}  // namespace userdma::rtl
