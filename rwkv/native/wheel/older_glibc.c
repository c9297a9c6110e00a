// What GCC's static C++ library takes from a glibc later than 2.28, for the wheel of `make wheel`.
#include <stdlib.h>
#include <unistd.h>

#define HIDDEN __attribute__((visibility("hidden")))

// glibc 2.32: not 0 only where a process certainly has one thread, which saves atomic operations.
HIDDEN char __libc_single_threaded = 0;

// glibc 2.36, for std::random_device, which the kernels do not use.
HIDDEN unsigned arc4random(void) {
  unsigned value;
  if (getentropy(&value, sizeof value) != 0) abort();
  return value;
}
