// The wires of a Verilated design by their names, whatever C++ type Verilator gave them.
//
// Verilator stores a port little-endian in 1, 2, 4, 8 or more bytes. The bridge runs on little-endian
// machines only (x86, ARM, WebAssembly), so that a data bus is copied as bytes.
#pragma once

#include <verilated.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>

namespace userdma::rtl {

class Wire {
 public:
  Wire() = default;
  template <typename Data>
  Wire(Data& data, int bits) : at_(reinterpret_cast<uint8_t*>(&data)), bits_(bits), size_(sizeof(Data)) {}

  explicit operator bool() const { return at_ != nullptr; }
  int bits() const { return bits_; }
  uint32_t bytes() const { return static_cast<uint32_t>(bits_ + 7) / 8; }

  // The value of up to 64 bits; 0 if the design has no such port.
  uint64_t get() const {
    switch (size_) {
      case 0:
        return 0;
      case 1:
        return *at_;
      case 2:
        return load<uint16_t>();
      case 4:
        return load<uint32_t>();
      default:
        return load<uint64_t>();
    }
  }

  // Sets a value of up to 64 bits, cut to the port's width. If the port is absent, this does nothing.
  void set(uint64_t value) {
    if (bits_ < 64) value &= (uint64_t{1} << bits_) - 1;
    switch (size_) {
      case 0:
        return;
      case 1:
        *at_ = static_cast<uint8_t>(value);
        return;
      case 2:
        store(static_cast<uint16_t>(value));
        return;
      case 4:
        store(static_cast<uint32_t>(value));
        return;
      case 8:
        store(value);
        return;
      default:
        std::memset(at_, 0, size_);
        store(value);
    }
  }

  const uint8_t* data() const { return at_; }
  void copyOut(uint8_t* into) const { std::memcpy(into, at_, bytes()); }
  void copyIn(const uint8_t* from) { std::memcpy(at_, from, bytes()); }

 private:
  template <typename Word>
  Word load() const {
    Word word;
    std::memcpy(&word, at_, sizeof word);
    return word;
  }
  template <typename Word>
  void store(Word word) {
    std::memcpy(at_, &word, sizeof word);
  }

  uint8_t* at_ = nullptr;
  int bits_ = 0;
  uint32_t size_ = 0;
};

// The ports of the top module. The generated file of a design fills it once, before the first clock.
class Ports {
 public:
  template <typename Data>
  void add(const std::string& name, Data& data, int bits) {
    wires_.emplace(name, Wire(data, bits));
  }

  // An absent wire reads 0 and ignores writes, so optional AXI signals need no special case.
  Wire find(const std::string& name) const {
    const auto found = wires_.find(name);
    return found == wires_.end() ? Wire() : found->second;
  }

 private:
  std::map<std::string, Wire> wires_;
};

}  // namespace userdma::rtl
