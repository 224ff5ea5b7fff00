// The entry of a simulator process. The generated file of a design includes this after the description of
// the design.
#pragma once

#ifdef __linux__
#include <sys/prctl.h>

#include <csignal>
#endif

#include "process.h"

int main() {
#ifdef __linux__
  // A design in an endless loop never reads its input, whose end would tell that the host is gone.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  // On the heap: a design may be larger than a stack.
  auto* process = new userdma::rtl::Process<Design, Root>(LAYOUT, DESCRIPTION, connect);
  process->serve();
}
