// The entry of a simulator process: the generated file of a design includes this after it has said what the design is.
#pragma once

#include "process.h"

int main() {
  // On the heap: a design may be larger than a stack.
  auto* process = new userdma::rtl::Process<Design, Root>(LAYOUT, DESCRIPTION, connect);
  process->serve();
}
