// Settings of a bridge by name. They are the same for a process and a WebAssembly module.
#pragma once

#include <cstdlib>
#include <string>

namespace userdma::rtl {

// "pin.NAME=number" holds an input of the design at a value.
constexpr char PIN[] = "pin.";

// "name=number". Returns false if the setting does not exist.
template <typename AnyBridge>
bool set(AnyBridge& bridge, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return false;
  const std::string name = text.substr(0, equals);
  const uint64_t value = std::strtoull(text.c_str() + equals + 1, nullptr, 10);
  auto& traffic = bridge.context().traffic;
  if (name == "seed")
    traffic.random.seed(value);
  else if (name == "pressure")
    traffic.pressure = static_cast<uint32_t>(value);
  else if (name == "latency")
    traffic.latency = static_cast<uint32_t>(value);
  else if (name == "reorder")
    traffic.reorder = value != 0;
  else if (name == "limit")
    bridge.limit = value;
  else if (name == "history")
    bridge.context().history = value != 0;
  else if (name == "half")
    bridge.waves().setClock(value);
  else if (name.rfind(PIN, 0) == 0)
    return bridge.pin(name.substr(sizeof PIN - 1), value);
  else
    return false;
  return true;
}

}  // namespace userdma::rtl
