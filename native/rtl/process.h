// A Verilated design as a process. Requests come on standard input, and answers go to standard output,
// one frame each. While a request is served, the design may ask for memory; the process waits for those
// answers.
//
// The output of the design itself goes to standard error.
#pragma once

#include <functional>

#include "bridge.h"
#include "frames.h"
#include "settings.h"

namespace userdma::rtl {

class ProcessHost : public Host, public StreamHost {
 public:
  ProcessHost() : output_(dup(1)) { dup2(2, 1); }

  uint32_t read(uint64_t address, uint8_t* into, uint32_t length) override {
    FrameWriter(Frame::dmaRead).add(address).add(length).send(output_);
    await(Frame::dmaReadAnswer);
    const uint32_t response = input_.next<uint8_t>();
    std::memset(into, 0, length);
    const size_t given = std::min<size_t>(length, input_.left());
    std::memcpy(into, input_.bytes(), given);
    noteFrom(given);
    return response;
  }

  uint32_t write(uint64_t address, const uint8_t* from, uint32_t length) override {
    FrameWriter(Frame::dmaWrite).add(address).add(from, length).send(output_);
    await(Frame::dmaWriteAnswer);
    const uint32_t response = input_.next<uint8_t>();
    noteFrom(0);
    return response;
  }

  void burst(uint64_t address, uint32_t port, uint32_t size, const std::vector<BeatRecord>& beats) override {
    FrameWriter(Frame::burst)
        .add(address)
        .add(static_cast<uint8_t>(port))
        .add(static_cast<uint8_t>(size))
        .add(beats.data(), beats.size() * sizeof(BeatRecord))
        .send(output_);
  }

  void interrupt(uint32_t wire, bool level) override {
    FrameWriter(Frame::interrupt)
        .add(static_cast<uint8_t>(wire))
        .add(static_cast<uint8_t>(level))
        .send(output_);
  }

  void report(const std::string& text) override {
    FrameWriter(Frame::report).add(text.data(), text.size()).send(output_);
  }

  void streamed(uint32_t stream, const uint8_t* bytes, uint32_t length, bool last) override {
    FrameWriter(Frame::streamOut)
        .add(static_cast<uint8_t>(stream))
        .add(static_cast<uint8_t>(last))
        .add(bytes, length)
        .send(output_);
  }

  FrameReader& next() {
    input_.receive(0);
    return input_;
  }

  int output() const { return output_; }

  // Told of what the host wants shown in the waveform.
  std::function<void(const std::string&)> onNote = [](const std::string&) {};

 private:
  // What follows the bytes of an answer is a note.
  void noteFrom(size_t given) {
    if (input_.left() == given) return;
    onNote(std::string(reinterpret_cast<const char*>(input_.bytes()) + given, input_.left() - given));
  }

  void await(Frame type) {
    input_.receive(0);
    // The two sides have lost synchronisation, and cannot recover.
    if (input_.type() != type) std::_Exit(3);
  }

  int output_;
  FrameReader input_;
};

template <typename Design, typename Root>
class Process {
 public:
  Process(const Layout& layout, const char* description, typename Bridge<Design, Root>::Connect connect)
      : bridge_(host_, host_, layout, connect), description_(description) {
    host_.onNote = [this](const std::string& text) { bridge_.waves().note(text); };
  }

  [[noreturn]] void serve() {
    for (;;) answer(host_.next());
  }

 private:
  void answer(FrameReader& request) {
    switch (request.type()) {
      case Frame::hello:
        FrameWriter(Frame::description)
            .add(PROTOCOL_VERSION)
            .add(description_, std::strlen(description_))
            .send(host_.output());
        return;
      case Frame::read: {
        const auto address = request.next<uint64_t>();
        const auto width = request.next<uint8_t>();
        const Outcome outcome = bridge_.read(address, width);
        bridge_.waves().access("read", address, bridge_.value(), width);
        return done(outcome, bridge_.value());
      }
      case Frame::write: {
        const auto address = request.next<uint64_t>();
        const auto width = request.next<uint8_t>();
        const auto value = request.next<uint64_t>();
        bridge_.waves().access("write", address, value, width);
        return done(bridge_.write(address, width, value), 0);
      }
      case Frame::run:
        bridge_.run(request.next<uint32_t>());
        return done(Outcome::okay, 0);
      case Frame::reset:
        bridge_.reset();
        return done(Outcome::okay, 0);
      case Frame::set:
        return reply(set(bridge_, text(request)) ? Outcome::okay : Outcome::error);
      case Frame::waves: {
        const auto from = request.next<uint64_t>();
        const auto to = request.next<uint64_t>();
        const std::string file = text(request);
        bridge_.waves().close();
        const bool good = file.empty() || bridge_.waves().open(file, from, to, nullptr);
        return reply(good ? Outcome::okay : Outcome::error);
      }
      case Frame::mark:
        bridge_.mark(text(request));
        return reply(Outcome::okay);
      case Frame::streamIn: {
        const auto stream = request.next<uint8_t>();
        const bool last = request.next<uint8_t>() != 0;
        bridge_.push(stream, request.bytes(), static_cast<uint32_t>(request.left()), last);
        return done(Outcome::okay, 0);
      }
      default:
        std::_Exit(3);
    }
  }

  // Called after a request that took clocks. Finding out if the design still moves may take some more
  // clocks.
  void done(Outcome outcome, uint64_t value) {
    moving_ = bridge_.moving();
    reply(outcome, value);
  }

  void reply(Outcome outcome, uint64_t value = 0) {
    FrameWriter(Frame::done)
        .add(static_cast<uint8_t>(outcome))
        .add(static_cast<uint8_t>(moving_))
        .add(bridge_.context().clock)
        .add(value)
        .send(host_.output());
  }

  static std::string text(FrameReader& request) {
    return std::string(reinterpret_cast<const char*>(request.bytes()), request.left());
  }

  ProcessHost host_;
  Bridge<Design, Root> bridge_;
  const char* description_;
  bool moving_ = true;
};

}  // namespace userdma::rtl
