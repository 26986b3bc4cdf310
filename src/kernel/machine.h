// What a machine says of itself: the parts of sg_machine_describe that tests give texts to.
#ifndef SG_KERNEL_MACHINE_H
#define SG_KERNEL_MACHINE_H

#include "base/cpu.h"
#include "sgatlin_bench.h"

// From the first processor of a /proc/cpuinfo: name, kind, flags, frequency, and of `threads`
// processors how many cores they are. What the text lacks stays as it is.
void sg_machine_take_cpuinfo(sg_machine *machine, const char *text);

#endif
