// The entry of a simulator process. The generated file of a design includes this after the description of
// the design.
#pragma once

#include "process.h"

int main() {
  // On the heap: a design may be larger than a stack.
  auto* process = new userdma::rtl::Process<Design, Root>(LAYOUT, DESCRIPTION, connect);
  process->serve();
}
