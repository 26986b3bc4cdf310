// The ways of computing other kinds of products than f32 (kernel/products.h) that tests try: by
// choice, of rounded operands, by loops in place of a unit, and by each unit that is here.
#ifndef SG_TESTS_UNIT_ENGINES_H
#define SG_TESTS_UNIT_ENGINES_H

#include <stdio.h>
#include <stdlib.h>

#include "kernel/products.h"

enum { ENGINES_MAX = SG_ENGINE_AMX + 1 };

// AMX is also where tools/test_amx.sh emulates it.
static inline bool engines_have(sg_tiles_unit unit)
{
    return sg_tiles_have(unit) || (unit == SG_TILES_AMX && getenv("SG_TEST_AMX") != NULL);
}

// How many they are; the units that are not here are named.
static inline int engines_here(sg_products_engine engines[ENGINES_MAX])
{
    int count = 0;
    for (int e = SG_ENGINE_CHOSEN; e <= SG_ENGINE_PLAIN; e++)
        engines[count++] = (sg_products_engine)e;
    for (int e = SG_ENGINE_AVX512_BF16; e <= SG_ENGINE_AMX; e++) {
        const sg_tiles_unit unit = e == SG_ENGINE_AMX ? SG_TILES_AMX : SG_TILES_AVX512_BF16;
        if (engines_have(unit))
            engines[count++] = (sg_products_engine)e;
        else
            printf("%s: skipped, this processor does not have it\n", sg_tiles_name(unit));
    }
    return count;
}

#endif
