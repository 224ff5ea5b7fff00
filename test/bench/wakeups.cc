#include "wakeups.h"

#include <linux/vfio.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace {

/** The times at which signals were sent and came: nanoseconds of CLOCK_MONOTONIC. */
using Times = std::vector<double>;

double Now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield" ::: "memory");
#endif
}

/** VFIO_DEVICE_SET_IRQS of the first `count` vectors: arms one with `event`; without an event, 1 raises it
 * and 0 turns the kind off. */
bool SetIrqs(int vfio, uint32_t index, uint32_t count, const int32_t* event = nullptr) {
  alignas(vfio_irq_set) char bytes[sizeof(vfio_irq_set) + sizeof(int32_t)] = {};
  vfio_irq_set set = {};
  set.argsz = event == nullptr ? sizeof set : sizeof bytes;
  set.flags =
      VFIO_IRQ_SET_ACTION_TRIGGER | (event == nullptr ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD);
  set.index = index;
  set.count = count;
  memcpy(bytes, &set, sizeof set);
  if (event != nullptr) memcpy(bytes + sizeof set, event, sizeof *event);
  return ioctl(vfio, VFIO_DEVICE_SET_IRQS, bytes) == 0;
}

/** What makes an eventfd readable, and how often. */
struct Source {
  std::function<bool(int event)> signal;
  Times sent;
  timespec pause;
};

/** The arguments from `first` on: the count, microseconds between two signals, and for VFIO's own trigger the
 * device's descriptor and the kind of interrupt. */
std::shared_ptr<Source> SourceOf(const Napi::CallbackInfo& info, size_t first) {
  const auto number = [&](size_t index) { return info[first + index].As<Napi::Number>().Int64Value(); };
  auto source = std::make_shared<Source>();
  source->sent.resize(static_cast<size_t>(number(0)));
  source->pause = {0, number(1) * 1000};
  source->signal = [](int event) { return eventfd_write(event, 1) == 0; };
  if (info[first + 2].IsNumber()) {
    const int vfio = static_cast<int>(number(2));
    const auto index = static_cast<uint32_t>(number(3));
    source->signal = [vfio, index](int) { return SetIrqs(vfio, index, 1); };
  }
  return source;
}

/** Sends all signals, with pauses in which the receiver falls asleep. */
std::thread Send(const std::shared_ptr<Source>& source, int event) {
  return std::thread([source, event] {
    for (double& time : source->sent) {
      nanosleep(&source->pause, nullptr);
      time = Now();
      if (!source->signal(event)) return;
    }
  });
}

Napi::Value ToArray(Napi::Env env, const Times& times) {
  auto array = Napi::Float64Array::New(env, times.size());
  std::copy(times.begin(), times.end(), array.Data());
  return array;
}

/** signals(fd, count, pause, vfio, kind): another thread signals the eventfd. The result is a function that
 * waits for its end, and returns the times. */
Napi::Value Signals(const Napi::CallbackInfo& info) {
  auto source = SourceOf(info, 1);
  auto thread = std::make_shared<std::thread>(Send(source, info[0].As<Napi::Number>().Int32Value()));
  return Napi::Function::New(info.Env(), [source, thread](const Napi::CallbackInfo& end) {
    if (thread->joinable()) thread->join();
    return ToArray(end.Env(), source->sent);
  });
}

/** An eventfd that interrupts of the source signal, as long as this lives. */
class Event {
 public:
  Event(const Napi::CallbackInfo& info, int flags) : fd_(eventfd(0, EFD_CLOEXEC | flags)) {
    if (!info[2].IsNumber()) return;
    vfio_ = info[2].As<Napi::Number>().Int32Value();
    index_ = info[3].As<Napi::Number>().Uint32Value();
    SetIrqs(vfio_, index_, 1, &fd_);
  }
  ~Event() {
    if (vfio_ >= 0) SetIrqs(vfio_, index_, 0);
    close(fd_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
  int vfio_ = -1;
  uint32_t index_ = 0;
};

/** wakeups(count, pause, vfio, kind): nanoseconds from a signal to a thread in C that waits in read(). */
Napi::Value Wakeups(const Napi::CallbackInfo& info) {
  const auto source = SourceOf(info, 0);
  const Event event(info, EFD_SEMAPHORE);
  Times took(source->sent.size());
  std::thread sender = Send(source, event.fd());
  uint64_t count;
  for (double& time : took) time = read(event.fd(), &count, sizeof count) == sizeof count ? Now() : 0;
  sender.join();
  for (size_t i = 0; i < took.size(); i++) took[i] -= source->sent[i];
  return ToArray(info.Env(), took);
}

/** loopWakeups(count, pause, vfio, kind): as `wakeups`, to a callback of libuv in a loop with nothing else.
 */
Napi::Value LoopWakeups(const Napi::CallbackInfo& info) {
  struct Receiver {
    uv_poll_t poll;
    int event;
    Times took;
    size_t came;
  };
  const auto source = SourceOf(info, 0);
  const Event event(info, EFD_NONBLOCK);
  Receiver receiver = {{}, event.fd(), Times(source->sent.size()), 0};
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return info.Env().Undefined();
  uv_poll_init(&loop, &receiver.poll, event.fd());
  receiver.poll.data = &receiver;
  uv_poll_start(&receiver.poll, UV_READABLE, [](uv_poll_t* poll, int, int) {
    auto* const to = static_cast<Receiver*>(poll->data);
    const double now = Now();
    uint64_t count = 0;
    if (read(to->event, &count, sizeof count) != sizeof count) return;
    for (; count > 0 && to->came < to->took.size(); count--) to->took[to->came++] = now;
    if (to->came == to->took.size()) uv_close(reinterpret_cast<uv_handle_t*>(poll), nullptr);
  });
  std::thread sender = Send(source, event.fd());
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  sender.join();
  for (size_t i = 0; i < receiver.took.size(); i++) receiver.took[i] -= source->sent[i];
  return ToArray(info.Env(), receiver.took);
}

/** keepTo(awake): the calling thread and its new threads stay on one processor. `awake`: it never has nothing
 * to do. */
Napi::Value KeepTo(const Napi::CallbackInfo& info) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return info.Env().Undefined();
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &set)) last--;
  CPU_ZERO(&set);
  CPU_SET(last, &set);
  sched_setaffinity(0, sizeof set, &set);
  if (info[0].ToBoolean()) {
    std::thread([] {
      const sched_param none = {};
      // Every other thread is preferred to one of this class.
      if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) return;
      for (;;) Relax();
    }).detach();
  }
  return info.Env().Undefined();
}

}  // namespace

void InitWakeups(Napi::Env env, Napi::Object exports) {
  exports.Set("signals", Napi::Function::New(env, Signals));
  exports.Set("wakeups", Napi::Function::New(env, Wakeups));
  exports.Set("loopWakeups", Napi::Function::New(env, LoopWakeups));
  exports.Set("keepTo", Napi::Function::New(env, KeepTo));
}
