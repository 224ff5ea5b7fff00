// Waveforms of the design, with an extra scope for the actions of the driver.
//
// The scope `driver` has these signals; texts are ASCII, which wave viewers can show:
//
//      count     goes up by one with each event, so that two equal events can be told apart
//      access    "read" or "write" of a register, beside its `address`, `value` and `width` in bytes
//      note      the last other action of the driver: mappings, syncs, interrupts, reports
//
// Events of the same moment are shown one picosecond after the other, so that each of them is seen.
//
// A VCD does not hold the time of day: two runs with the same seed write the same bytes.
#pragma once

#include <verilated.h>
#ifdef USERDMA_RTL_FST
#include <verilated_fst_c.h>
#else
#include <verilated_vcd_c.h>
#endif

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

namespace userdma::rtl {

#ifdef USERDMA_RTL_FST
using TraceFile = VerilatedFstC;
using Trace = VerilatedFst;
#else
using TraceFile = VerilatedVcdC;
using Trace = VerilatedVcd;
#endif

// An ASCII text as a bus: the first character is in the uppermost byte.
template <size_t Words>
struct Text {
  uint32_t words[Words] = {};

  void set(const std::string& text) {
    std::memset(words, 0, sizeof words);
    const size_t size = std::min(text.size(), 4 * Words);
    for (size_t i = 0; i < size; i++) {
      const size_t byte = size - 1 - i;
      words[byte / 4] |= static_cast<uint32_t>(static_cast<unsigned char>(text[i])) << (8 * (byte % 4));
    }
  }
  static constexpr int bits() { return static_cast<int>(32 * Words); }
};

// Receives a VCD in a world without files. nullptr means that it goes to a file of that name.
struct WaveSink {
  virtual ~WaveSink() = default;
  virtual void write(const char* bytes, size_t length) = 0;
};

template <typename Design>
class Waves {
 public:
  Waves(Design& top, VerilatedContext& verilated) : top_(top), verilated_(verilated) {}
  ~Waves() { close(); }

  // Sets half a clock period, in picoseconds.
  void setClock(uint64_t half) { half_ = half; }

  // Records from clock `from` to clock `to`, both included.
  bool open(const std::string& name, uint64_t from, uint64_t to, WaveSink* sink) {
    close();
    verilated_.traceEverOn(true);
    sink_ = std::make_unique<File>(sink);
    file_ = makeFile(*sink_);
    top_.trace(file_.get(), 99);
    file_->spTrace()->addInitCb(&declare, this);
    file_->spTrace()->addFullCb(&full, this);
    file_->spTrace()->addChgCb(&change, this);
    file_->set_time_unit("1ps");
    file_->set_time_resolution("1ps");
    file_->open(name.c_str());
    from_ = from;
    to_ = to;
    started_ = false;
    if (file_->isOpen()) return true;
    file_.reset();
    return false;
  }

  void close() {
    if (file_ == nullptr) return;
    file_->close();
    file_.reset();
  }

  bool isOpen() const { return file_ != nullptr; }

  void dump(uint64_t halves, uint64_t clock) {
    if (file_ == nullptr || clock < from_) return;
    if (clock > to_) {
      close();
      return;
    }
    last_ = halves * half_;
    started_ = true;
    file_->dump(last_);
  }

  void access(const char* kind, uint64_t address, uint64_t value, uint32_t width) {
    access_.set(kind);
    address_ = address;
    value_ = value;
    width_ = width;
    count_++;
    show();
  }

  // The driver did something between two clocks.
  void mark(const std::string& text) {
    note(text);
    show();
  }

  // As `mark`, in the middle of a clock: it is shown at the clock's next edge.
  void note(const std::string& text) {
    note_.set(text);
    count_++;
  }

 private:
  // Before the first clock of a window there is nothing to add to: what happens is in its first values.
  void show() {
    if (file_ == nullptr || !started_ || (last_ + 1) % half_ == 0) return;
    file_->dump(++last_);
  }

#ifdef USERDMA_RTL_FST
  struct File {
    explicit File(WaveSink*) {}
  };
  static std::unique_ptr<TraceFile> makeFile(File&) { return std::make_unique<TraceFile>(); }
  using Buffer = VerilatedFst::Buffer;
#else
  // A VCD, or its bytes in a world without files.
  class File : public VerilatedVcdFile {
   public:
    explicit File(WaveSink* sink) : sink_(sink) {}
    bool open(const std::string& name) override { return sink_ != nullptr || VerilatedVcdFile::open(name); }
    void close() override {
      if (sink_ == nullptr) VerilatedVcdFile::close();
    }
    ssize_t write(const char* bytes, ssize_t length) override {
      if (sink_ == nullptr) return VerilatedVcdFile::write(bytes, length);
      sink_->write(bytes, static_cast<size_t>(length));
      return length;
    }

   private:
    WaveSink* sink_;
  };
  static std::unique_ptr<TraceFile> makeFile(File& file) { return std::make_unique<TraceFile>(&file); }
  using Buffer = VerilatedVcd::Buffer;
#endif

  // The offsets of the signals from the first code, one for each 32 bits.
  enum Code : uint32_t { COUNT = 0, ADDRESS = 1, VALUE = 3, WIDTH = 5, ACCESS = 6, NOTE = 8, CODES = 24 };

  static void declare(void* self, Trace* trace, uint32_t code) {
    auto& waves = *static_cast<Waves*>(self);
    waves.code_ = code;
    trace->pushNamePrefix("driver ");
    waves.bus(trace, COUNT, "count", 32);
    waves.bus(trace, ADDRESS, "address", 64);
    waves.bus(trace, VALUE, "value", 64);
    waves.bus(trace, WIDTH, "width", 8);
    waves.bus(trace, ACCESS, "access", Text<2>::bits());
    waves.bus(trace, NOTE, "note", Text<16>::bits());
    trace->popNamePrefix();
  }

  void bus(Trace* trace, Code offset, const char* name, int bits) {
#ifdef USERDMA_RTL_FST
    if (bits > 64)
      trace->declArray(code_ + offset, name, -1, FST_VD_IMPLICIT, FST_VT_VCD_WIRE, false, -1, bits - 1, 0);
    else if (bits > 32)
      trace->declQuad(code_ + offset, name, -1, FST_VD_IMPLICIT, FST_VT_VCD_WIRE, false, -1, bits - 1, 0);
    else
      trace->declBus(code_ + offset, name, -1, FST_VD_IMPLICIT, FST_VT_VCD_WIRE, false, -1, bits - 1, 0);
#else
    if (bits > 64)
      trace->declArray(code_ + offset, name, false, -1, bits - 1, 0);
    else if (bits > 32)
      trace->declQuad(code_ + offset, name, false, -1, bits - 1, 0);
    else
      trace->declBus(code_ + offset, name, false, -1, bits - 1, 0);
#endif
  }

  static void full(void* self, Buffer* buffer) {
    auto& w = *static_cast<Waves*>(self);
    uint32_t* const old = buffer->oldp(w.code_);
    buffer->fullIData(old + COUNT, w.count_, 32);
    buffer->fullQData(old + ADDRESS, w.address_, 64);
    buffer->fullQData(old + VALUE, w.value_, 64);
    buffer->fullCData(old + WIDTH, static_cast<uint8_t>(w.width_), 8);
    buffer->fullQData(old + ACCESS, (uint64_t{w.access_.words[1]} << 32) | w.access_.words[0], 64);
    buffer->fullWData(old + NOTE, w.note_.words, Text<16>::bits());
  }

  static void change(void* self, Buffer* buffer) {
    auto& w = *static_cast<Waves*>(self);
    uint32_t* const old = buffer->oldp(w.code_);
    buffer->chgIData(old + COUNT, w.count_, 32);
    buffer->chgQData(old + ADDRESS, w.address_, 64);
    buffer->chgQData(old + VALUE, w.value_, 64);
    buffer->chgCData(old + WIDTH, static_cast<uint8_t>(w.width_), 8);
    buffer->chgQData(old + ACCESS, (uint64_t{w.access_.words[1]} << 32) | w.access_.words[0], 64);
    buffer->chgWData(old + NOTE, w.note_.words, Text<16>::bits());
  }

  Design& top_;
  VerilatedContext& verilated_;
  std::unique_ptr<File> sink_;
  std::unique_ptr<TraceFile> file_;
  uint64_t from_ = 0, to_ = 0;
  // Time of the newest values, picoseconds, and whether there are any.
  uint64_t last_ = 0;
  bool started_ = false;
  uint64_t half_ = 5000;
  uint32_t code_ = 0;
  uint32_t count_ = 0;
  uint64_t address_ = 0, value_ = 0;
  uint32_t width_ = 0;
  Text<2> access_;
  Text<16> note_;
};

}  // namespace userdma::rtl
