// The life of an Interrupt: libuv allows its memory to go only in the close callback, and a worker that ends
// with the handle open aborts the process, while a *synchronous* cleanup hook crashes it. So every interrupt
// has an asynchronous hook, which the close callback takes away:
//
//   interruptClose or the environment's end: table entry removed -> Close() -> uv_close
//   later, from the loop:                    OnClosed(): hook removed, memory freed
#include "interrupt.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <utility>

#include "fd.h"

namespace userdma {

struct Interrupt {
  uv_poll_t poll;
  Fd event;
  napi_env env;
  Addon* addon;
  Handle handle;
  napi_ref callback;
  napi_async_cleanup_hook_handle hook;
};

namespace {

void OnClosed(uv_handle_t* poll) {
  const std::unique_ptr<Interrupt> interrupt(static_cast<Interrupt*>(poll->data));
  napi_remove_async_cleanup_hook(interrupt->hook);
}

/** The deleter of the table's pointer: the memory goes later, in OnClosed. */
void Close(Interrupt* interrupt) {
  napi_delete_reference(interrupt->env, interrupt->callback);
  uv_close(reinterpret_cast<uv_handle_t*>(&interrupt->poll), OnClosed);
}

void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  const Interrupt* interrupt = static_cast<Interrupt*>(data);
  interrupt->addon->interrupts.Remove(interrupt->handle);  // nothing when it is closing already
}

/** Calls back with `count`. What the callback throws is the environment's uncaught exception, as from a
 * timer. */
void Deliver(const Interrupt& interrupt, uint64_t count) {
  const napi_env env = interrupt.env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback;
  napi_value receiver;
  napi_value number;
  napi_get_reference_value(env, interrupt.callback, &callback);
  napi_get_global(env, &receiver);
  napi_create_double(env, static_cast<double>(count), &number);
  // The callback may close the interrupt: it is not touched after this.
  if (napi_make_callback(env, nullptr, receiver, callback, 1, &number, nullptr) == napi_pending_exception) {
    napi_value exception;
    if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) napi_fatal_exception(env, exception);
  }
  napi_close_handle_scope(env, scope);
}

void OnReadable(uv_poll_t* poll, int, int) {
  const Interrupt* interrupt = static_cast<Interrupt*>(poll->data);
  uint64_t count;
  if (read(interrupt->event.get(), &count, sizeof count) == sizeof count) Deliver(*interrupt, count);
}

/** Makes an interrupt that nothing has started yet. nullptr with `error` set when there is none. */
std::shared_ptr<Interrupt> Open(const Call& call, int* error) {
  auto owned = std::make_unique<Interrupt>();
  owned->event.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  *error = owned->event ? 0 : -errno;
  if (*error != 0) return nullptr;
  uv_loop_t* loop = nullptr;
  *error = napi_get_uv_event_loop(call.env, &loop) == napi_ok ? 0 : -EINVAL;
  if (*error == 0) *error = uv_poll_init(loop, &owned->poll, owned->event.get());
  if (*error != 0) return nullptr;
  Interrupt* const interrupt = owned.release();
  interrupt->poll.data = interrupt;
  interrupt->env = call.env;
  interrupt->addon = call.addon;
  napi_create_reference(call.env, call[0], 1, &interrupt->callback);
  napi_add_async_cleanup_hook(call.env, OnEnvironmentEnd, interrupt, &interrupt->hook);
  return std::shared_ptr<Interrupt>(interrupt, Close);
}

napi_value InterruptCreate(Call& call) {
  if (!call.IsFunction(0)) return call.Return(-EINVAL);
  int error;
  const std::shared_ptr<Interrupt> interrupt = Open(call, &error);
  if (interrupt == nullptr) return call.Return(error);
  error = uv_poll_start(&interrupt->poll, UV_READABLE, OnReadable);
  if (error != 0) return call.Return(error);
  interrupt->handle = call.addon->interrupts.Add(interrupt);
  return call.Return(interrupt->handle == 0 ? -ENOSPC : static_cast<int64_t>(interrupt->handle));
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
  return call.Return(write(interrupt->event.get(), &count, sizeof count) == sizeof count ? 0 : -errno);
}

}  // namespace

int InterruptFd(const Addon& addon, Handle handle) {
  const Interrupt* interrupt = addon.interrupts.Get(handle);
  return interrupt == nullptr ? -1 : interrupt->event.get();
}

void InitInterrupt(Napi::Env env, Napi::Object exports, Napi::Object testing) {
  Export<InterruptCreate>(env, exports, "interruptCreate");
  Export<ReturnFd>(env, exports, "interruptFd");
  Export<InterruptClose>(env, exports, "interruptClose");
  Export<InterruptRef>(env, exports, "interruptRef");
  Export<Signal>(env, testing, "signal");
}

}  // namespace userdma
