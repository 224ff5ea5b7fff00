// A Verilated design as a WebAssembly module. Where a process answers with frames, this makes calls. A
// 64-bit number is passed as two halves, because a BigInt conversion costs more than the call. Texts and
// bytes go through a buffer in the module's memory.
#pragma once

#include <verilated_threads.h>

#include "bridge.h"
#include "settings.h"

namespace userdma::rtl {

extern "C" {
__attribute__((import_module("userdma"), import_name("dma_read"))) uint32_t userdma_dma_read(uint32_t low,
                                                                                             uint32_t high,
                                                                                             uint8_t* into,
                                                                                             uint32_t length);
__attribute__((import_module("userdma"), import_name("dma_write"))) uint32_t userdma_dma_write(
    uint32_t low, uint32_t high, const uint8_t* from, uint32_t length);
__attribute__((import_module("userdma"), import_name("burst"))) void userdma_burst(
    uint32_t low, uint32_t high, uint32_t port, uint32_t size, const void* beats, uint32_t count);
__attribute__((import_module("userdma"), import_name("interrupt"))) void userdma_interrupt(uint32_t wire,
                                                                                           uint32_t level);
__attribute__((import_module("userdma"), import_name("report"))) void userdma_report(const char* text,
                                                                                     uint32_t length);
__attribute__((import_module("userdma"), import_name("streamed"))) void userdma_streamed(uint32_t stream,
                                                                                         const uint8_t* bytes,
                                                                                         uint32_t length,
                                                                                         uint32_t last);
__attribute__((import_module("userdma"), import_name("wave"))) void userdma_wave(const char* bytes,
                                                                                 uint32_t length);
}

class WasmHost : public Host, public StreamHost, public WaveSink {
 public:
  uint32_t read(uint64_t address, uint8_t* into, uint32_t length) override {
    return userdma_dma_read(static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32), into,
                            length);
  }
  uint32_t write(uint64_t address, const uint8_t* from, uint32_t length) override {
    return userdma_dma_write(static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32), from,
                             length);
  }
  void burst(uint64_t address, uint32_t port, uint32_t size, const std::vector<BeatRecord>& beats) override {
    userdma_burst(static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32), port, size,
                  beats.data(), static_cast<uint32_t>(beats.size()));
  }
  void interrupt(uint32_t wire, bool level) override { userdma_interrupt(wire, level); }
  void report(const std::string& text) override {
    userdma_report(text.data(), static_cast<uint32_t>(text.size()));
  }
  void streamed(uint32_t stream, const uint8_t* bytes, uint32_t length, bool last) override {
    userdma_streamed(stream, bytes, length, last);
  }
  void write(const char* bytes, size_t length) override {
    userdma_wave(bytes, static_cast<uint32_t>(length));
  }
};

// The values that every call leaves for the host to read.
struct State {
  double clock;
  uint32_t moving;
  uint32_t low;
  uint32_t high;
};

template <typename Design, typename Root>
class Module {
 public:
  Module(const Layout& layout, typename Bridge<Design, Root>::Connect connect)
      : bridge(host, host, layout, connect) {}

  uint32_t done(Outcome outcome, uint64_t value) {
    state.moving = bridge.moving() ? 1 : 0;
    state.clock = static_cast<double>(bridge.context().clock);
    state.low = static_cast<uint32_t>(value);
    state.high = static_cast<uint32_t>(value >> 32);
    return static_cast<uint32_t>(outcome);
  }

  WasmHost host;
  Bridge<Design, Root> bridge;
  State state = {0, 1, 0, 0};
  // Texts and bytes from the host.
  uint8_t buffer[65536];
};

}  // namespace userdma::rtl

extern "C" {
// The runtime of this toolchain has no threads, and the module never ends.
int __cxa_thread_atexit(void (*)(void*), void*, void*) { return 0; }
}
VlThreadPool::VlThreadPool(VerilatedContext*, unsigned) {}
VlThreadPool::~VlThreadPool() {}
