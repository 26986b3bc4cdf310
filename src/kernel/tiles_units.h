// Each unit's product: see tiles.h. Only where the processor has it.
#ifndef SG_KERNEL_TILES_UNITS_H
#define SG_KERNEL_TILES_UNITS_H

#include "kernel/tiles.h"

bool sg_tiles_have_amx(void); // asks the system for the unit
void sg_tiles_by_amx(const sg_tiles_args *args);

bool sg_tiles_have_avx512(void);
void sg_tiles_by_avx512(const sg_tiles_args *args);

#endif
