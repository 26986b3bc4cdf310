// Each unit's product: see tiles.h. Only where the processor has it.
#ifndef SG_KERNEL_TILES_UNITS_H
#define SG_KERNEL_TILES_UNITS_H

#include "kernel/tiles.h"

// Asked anew each time, the first one of the system too.
bool sg_tiles_have_amx(void);
void sg_tiles_by_amx(const sg_tiles_args *args);

bool sg_tiles_have_avx512(void);
void sg_tiles_by_avx512(const sg_tiles_args *args);

#endif
