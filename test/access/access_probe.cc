// Counts what the processor really does to a piece of memory: the proof behind test/access.
//
// Between arm() and disarm() the pages are inaccessible. Each access faults (SIGSEGV); the handler notes the
// direction, the width from the instruction's bytes, and the offset, opens the pages, lets this one
// instruction run with the trap flag set, and closes them again at the SIGTRAP after it. x86-64 Linux only;
// one thread.
#include <napi.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace {

constexpr greg_t kTrapFlag = 0x100;
constexpr greg_t kFaultWasWrite = 0x2;

struct Access {
  uint64_t offset;
  bool write;
  uint8_t code[15];
};

// Statics: the signal handlers have no other way to find them.
char* base;
size_t size;
Access accesses[4096];
size_t count;
struct sigaction old_segv;
struct sigaction old_trap;

void Protect(int protection) { mprotect(base, size, protection); }

void OnSegv(int number, siginfo_t* info, void* raw) {
  ucontext_t* context = static_cast<ucontext_t*>(raw);
  char* const address = static_cast<char*>(info->si_addr);
  if (address < base || address >= base + size) {  // a real crash: as if we were not here
    sigaction(number, &old_segv, nullptr);
    return;
  }
  greg_t* registers = context->uc_mcontext.gregs;
  if (count < std::size(accesses)) {
    Access& access = accesses[count++];
    access.offset = static_cast<uint64_t>(address - base);
    access.write = (registers[REG_ERR] & kFaultWasWrite) != 0;
    const uint8_t* code = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
    for (size_t i = 0; i < sizeof access.code; i++) access.code[i] = code[i];
  }
  Protect(PROT_READ | PROT_WRITE);
  registers[REG_EFL] |= kTrapFlag;
}

void OnTrap(int, siginfo_t*, void* raw) {
  Protect(PROT_NONE);
  static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
}

/** Bits that a plain move transfers, 0 for any other instruction (read-modify-write, string, vector). */
int WidthOf(const uint8_t* code) {
  int word = 32;
  if (*code == 0x66) {
    word = 16;
    code++;
  }
  if ((*code & 0xf0) == 0x40) {  // REX, bit 3 is W
    if ((*code & 0x08) != 0) word = 64;
    code++;
  }
  switch (*code) {
    case 0x88:  // mov r8 -> m
    case 0x8a:  // mov m -> r8
    case 0xc6:  // mov imm8 -> m
      return 8;
    case 0x89:
    case 0x8b:
    case 0xc7:
      return word;
    case 0x0f:
      if (code[1] == 0xb6 || code[1] == 0xbe) return 8;   // movzx, movsx from 8 bits
      if (code[1] == 0xb7 || code[1] == 0xbf) return 16;  // from 16 bits
      return 0;
    default:
      return 0;
  }
}

/** `R32@64`, or `R?@64 f0 83 ...` with the bytes of an instruction that is no plain move. */
std::string Describe(const Access& access) {
  const int width = WidthOf(access.code);
  std::string text = access.write ? "W" : "R";
  text += (width == 0 ? "?" : std::to_string(width)) + "@" + std::to_string(access.offset);
  for (size_t i = 0; width == 0 && i < sizeof access.code; i++) {
    char byte[4];
    snprintf(byte, sizeof byte, " %02x", access.code[i]);
    text += byte;
  }
  return text;
}

void Handle(int number, void (*handler)(int, siginfo_t*, void*), struct sigaction* old) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(number, &action, old);
}

/** arm(buffer): the buffer is whole pages, page-aligned. */
Napi::Value Arm(const Napi::CallbackInfo& info) {
  Napi::ArrayBuffer buffer = info[0].As<Napi::ArrayBuffer>();
  base = static_cast<char*>(buffer.Data());
  size = buffer.ByteLength();
  count = 0;
  Handle(SIGSEGV, OnSegv, &old_segv);
  Handle(SIGTRAP, OnTrap, &old_trap);
  Protect(PROT_NONE);
  return info.Env().Undefined();
}

/** disarm(): the accesses since arm, in order. */
Napi::Value Disarm(const Napi::CallbackInfo& info) {
  Protect(PROT_READ | PROT_WRITE);
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGTRAP, &old_trap, nullptr);
  Napi::Array list = Napi::Array::New(info.Env(), count);
  for (size_t i = 0; i < count; i++) list.Set(i, Describe(accesses[i]));
  return list;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("arm", Napi::Function::New(env, Arm));
  exports.Set("disarm", Napi::Function::New(env, Disarm));
  return exports;
}

NODE_API_MODULE(access_probe, Init)

}  // namespace
