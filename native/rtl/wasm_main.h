// The exports of a module. The generated file of a design includes this after the description of the
// design.
#pragma once

#include "wasm.h"

namespace {
userdma::rtl::Module<Design, Root>* module;
uint64_t join(uint32_t low, uint32_t high) { return (static_cast<uint64_t>(high) << 32) | low; }
std::string text(uint32_t length) {
  return std::string(reinterpret_cast<const char*>(module->buffer), length);
}
}  // namespace

#define EXPORT(name) __attribute__((export_name(#name)))
extern "C" {
EXPORT(start) void rtl_start() { module = new userdma::rtl::Module<Design, Root>(LAYOUT, connect); }
EXPORT(description) const char* rtl_description() { return DESCRIPTION; }
EXPORT(state) void* rtl_state() { return &module->state; }
EXPORT(buffer) void* rtl_buffer() { return module->buffer; }

EXPORT(read) uint32_t rtl_read(uint32_t low, uint32_t high, uint32_t width) {
  auto& bridge = module->bridge;
  const auto outcome = bridge.read(join(low, high), width);
  bridge.waves().access("read", join(low, high), bridge.value(), width);
  return module->done(outcome, bridge.value());
}
EXPORT(write)
uint32_t rtl_write(uint32_t low, uint32_t high, uint32_t width, uint32_t value_low, uint32_t value_high) {
  auto& bridge = module->bridge;
  const uint64_t value = join(value_low, value_high);
  bridge.waves().access("write", join(low, high), value, width);
  return module->done(bridge.write(join(low, high), width, value), 0);
}
EXPORT(run) uint32_t rtl_run(uint32_t clocks) {
  module->bridge.run(clocks);
  return module->done(userdma::rtl::Outcome::okay, 0);
}
EXPORT(reset) uint32_t rtl_reset() {
  module->bridge.reset();
  return module->done(userdma::rtl::Outcome::okay, 0);
}
// The text is in the buffer.
EXPORT(set) uint32_t rtl_set(uint32_t length) {
  return userdma::rtl::set(module->bridge, text(length)) ? 0 : 1;
}
EXPORT(note) void rtl_note(uint32_t length) { module->bridge.waves().note(text(length)); }
EXPORT(mark) void rtl_mark(uint32_t length) { module->bridge.mark(text(length)); }
EXPORT(push) uint32_t rtl_push(uint32_t stream, uint32_t length, uint32_t last) {
  module->bridge.push(stream, module->buffer, length, last != 0);
  return module->done(userdma::rtl::Outcome::okay, 0);
}
EXPORT(waves) uint32_t rtl_waves(double from, double to) {
  auto& waves = module->bridge.waves();
  waves.close();
  if (to < from) return 0;
  return waves.open("waves", static_cast<uint64_t>(from), static_cast<uint64_t>(to), &module->host) ? 0 : 1;
}
}
#undef EXPORT
