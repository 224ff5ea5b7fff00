// The life of an Interrupt. libuv allows its memory to be freed only in the close callback. A worker that
// ends with the handle open aborts the process, and a *synchronous* cleanup hook crashes it. So every
// interrupt has an asynchronous hook, which the close callback removes:
//
//   interruptClose or the environment's end: table entry removed -> Close() -> uv_close
//   later, from the loop:                    OnClosed(): hook removed, memory freed
#include "interrupt.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <utility>

#include "fd.h"

namespace userdma {

struct Interrupt {
  uv_poll_t poll = {};
  InterruptFile source;
  napi_env env = nullptr;
  Addon* addon = nullptr;
  Handle handle = 0;
  napi_ref callback = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
};

namespace {

void OnClosed(uv_handle_t* poll) {
  const std::unique_ptr<Interrupt> interrupt(static_cast<Interrupt*>(poll->data));
  if (interrupt->hook != nullptr) napi_remove_async_cleanup_hook(interrupt->hook);
}

/** The deleter of the table's pointer. OnClosed frees the memory later. */
void Close(Interrupt* interrupt) {
  if (interrupt->callback != nullptr) napi_delete_reference(interrupt->env, interrupt->callback);
  uv_close(reinterpret_cast<uv_handle_t*>(&interrupt->poll), OnClosed);
  // libuv allows this from here on. It must not be left for later: the kernel's actions at the close of a
  // device file would hit the next opener of the device.
  interrupt->source.file.Reset();
}

void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  const Interrupt* interrupt = static_cast<Interrupt*>(data);
  interrupt->addon->interrupts.Remove(interrupt->handle);  // nothing when it is closing already
}

/**
 * Calls back with `count`, or with the -errno that ended the interrupt. An error that the callback throws
 * is an uncaught exception of the environment, as from a timer.
 */
void Deliver(const Interrupt& interrupt, int64_t count) {
  const napi_env env = interrupt.env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_value number = nullptr;
  napi_get_reference_value(env, interrupt.callback, &callback);
  napi_get_global(env, &receiver);
  napi_create_double(env, static_cast<double>(count), &number);
  // The callback may close the interrupt, so it is not touched after this. If the environment is
  // stopping, the call fails without an exception.
  bool thrown = false;
  napi_value exception = nullptr;
  if (napi_make_callback(env, nullptr, receiver, callback, 1, &number, nullptr) != napi_ok &&
      napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
      napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
    napi_fatal_exception(env, exception);
  }
  napi_close_handle_scope(env, scope);
}

void OnReadable(uv_poll_t* poll, int status, int) {
  Interrupt* interrupt = static_cast<Interrupt*>(poll->data);
  const int64_t count = interrupt->source.take(interrupt->source.file.get(), &interrupt->source.seen);
  // If `status` is an error, libuv has stopped watching. No event would come any more, whatever the file
  // contains.
  const int64_t result = status < 0 && count >= 0 ? -EIO : count;
  if (result < 0) uv_poll_stop(poll);
  if (result != 0) Deliver(*interrupt, result);
}

int64_t TakeSignals(int file, uint32_t*) {
  uint64_t count;
  if (read(file, &count, sizeof count) != sizeof count) return 0;
  return static_cast<int64_t>(std::min<uint64_t>(count, INT64_MAX));
}

/** Makes an interrupt that is not started yet. Returns nullptr and sets `error` on failure. */
std::shared_ptr<Interrupt> Open(const Call& call, size_t callback, InterruptFile source, int* error) {
  auto owned = std::make_unique<Interrupt>();
  owned->source = std::move(source);
  owned->env = call.env;
  owned->addon = call.addon;
  uv_loop_t* loop = nullptr;
  *error = napi_get_uv_event_loop(call.env, &loop) == napi_ok ? 0 : -EINVAL;
  if (*error == 0) *error = uv_poll_init(loop, &owned->poll, owned->source.file.get());
  if (*error != 0) return nullptr;
  owned->poll.data = owned.get();
  const std::shared_ptr<Interrupt> interrupt(owned.release(),
                                             Close);  // the loop knows it: uv_close from here on
  const bool ready =
      napi_create_reference(call.env, call[callback], 1, &interrupt->callback) == napi_ok &&
      napi_add_async_cleanup_hook(call.env, OnEnvironmentEnd, interrupt.get(), &interrupt->hook) == napi_ok;
  if (ready) return interrupt;
  *error = -ENOMEM;
  return nullptr;
}

napi_value InterruptCreate(Call& call) {
  if (!call.IsFunction(0)) return call.Return(-EINVAL);
  Fd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return call.Return(-errno);
  return call.Return(WatchInterrupt(call, 0, {std::move(event), TakeSignals, 0}));
}

napi_value InterruptClose(Call& call) {
  return call.Return(call.addon->interrupts.Remove(call.GetHandle(0)) == nullptr ? -EBADF : 0);
}

napi_value InterruptRef(Call& call) {
  Interrupt* interrupt = call.addon->interrupts.Get(call.GetHandle(0));
  if (interrupt == nullptr) return call.Return(-EBADF);
  bool ref;
  if (!call.Boolean(1, &ref)) return call.Return(-EINVAL);
  uv_handle_t* const handle = reinterpret_cast<uv_handle_t*>(&interrupt->poll);
  ref ? uv_ref(handle) : uv_unref(handle);
  return call.Return(0);
}

napi_value ReturnFd(Call& call) {
  const int fd = InterruptFd(*call.addon, call.GetHandle(0));
  return call.Return(fd < 0 ? -EBADF : fd);
}

napi_value Signal(Call& call) {
  const Interrupt* interrupt = call.addon->interrupts.Get(call.GetHandle(0));
  if (interrupt == nullptr) return call.Return(-EBADF);
  uint64_t count;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &count)) return call.Return(-EINVAL);
  return call.Return(write(interrupt->source.file.get(), &count, sizeof count) == sizeof count ? 0 : -errno);
}

}  // namespace

int64_t WatchInterrupt(const Call& call, size_t callback, InterruptFile source) {
  if (!call.addon->runtime.libuv) return -ENOSYS;
  int error;
  const std::shared_ptr<Interrupt> interrupt = Open(call, callback, std::move(source), &error);
  if (interrupt == nullptr) return error;
  error = uv_poll_start(&interrupt->poll, UV_READABLE, OnReadable);
  if (error != 0) return error;
  interrupt->handle = call.addon->interrupts.Add(interrupt);
  return interrupt->handle == 0 ? -EMFILE : static_cast<int64_t>(interrupt->handle);
}

int InterruptFd(const Addon& addon, Handle handle) {
  const Interrupt* interrupt = addon.interrupts.Get(handle);
  return interrupt == nullptr ? -1 : interrupt->source.file.get();
}

void InitInterrupt(napi_env env, napi_value exports, napi_value testing) {
  Export<InterruptCreate>(env, exports, "interruptCreate");
  Export<ReturnFd>(env, exports, "interruptFd");
  Export<InterruptClose>(env, exports, "interruptClose");
  Export<InterruptRef>(env, exports, "interruptRef");
  if (kTesting) Export<Signal>(env, testing, "signal");
}

}  // namespace userdma
