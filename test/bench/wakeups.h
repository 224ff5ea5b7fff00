// How long a signal takes to a thread: the other side of the rows about interrupts.
#pragma once

#include <napi.h>

void InitWakeups(Napi::Env env, Napi::Object exports);
