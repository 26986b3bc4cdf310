// Memory of the machine, as far as this process may have it.
#ifndef SG_BASE_MACHINE_MEMORY_H
#define SG_BASE_MACHINE_MEMORY_H

#include "base/status.h"

typedef struct sg_machine_memory {
    int64_t most; // bytes that the process can ever have: of the machine, its group and its limits
    int64_t available; // bytes that are free now
} sg_machine_memory;

// Numbers that the system does not say are INT64_MAX.
sg_machine_memory sg_memory_of_machine(void);

#endif
