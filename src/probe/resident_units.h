// The units of a mapped model: where they lie, and which of them stay in memory.
// (sgatlin_resident.h says what they are.)
#ifndef SG_PROBE_RESIDENT_UNITS_H
#define SG_PROBE_RESIDENT_UNITS_H

#include "model/model.h"
#include "sgatlin_resident.h"

// Bytes that lie behind each other, or in parts of the same size.
typedef struct sg_resident_table {
    sg_resident_kind kind;
    int64_t layer;      // from 0; -1: of none
    const char *at;     // the first byte
    int64_t bytes;      // in all
    int64_t unit_bytes; // of each unit but the last
    const void *const *parts;
    int64_t part_bytes, part_first; // of which part_first come before `at` in its part
} sg_resident_table;

typedef struct sg_resident_unit {
    sg_resident_kind kind;
    int32_t layer;              // as of its tables
    bool kept, locked;          // it is to stay; the system holds it
    int32_t table, table_count; // its tables, one behind the other
    int64_t number;             // of the units of these
    int64_t bytes;
    int64_t seen; // the last look at it (sg_resident_units.looks)
} sg_resident_unit;

typedef struct sg_resident_units {
    sg_resident_table *tables;
    sg_resident_unit *items;
    int64_t *reads; // (count) passes that read each
    int64_t table_count, count, converted, layers, looks;
    // Of each layer, from 0: the first of its blocks' units, how many, and blocks of each; 0: none.
    // Layers that share a memory share them.
    int64_t *first, *blocks_units, *together;
} sg_resident_units;

// Those of the weights that lie in the model's file.
sg_status sg_resident_units_new(const sg_model *model, sg_resident_units *units, sg_error *err);
void sg_resident_units_free(sg_resident_units *units);

typedef enum sg_resident_act {
    SG_RESIDENT_LOCK,
    SG_RESIDENT_UNLOCK,
    SG_RESIDENT_ASK,
    SG_RESIDENT_SCATTERED,
    SG_RESIDENT_DROP
} sg_resident_act;
// Does it to all bytes of a unit; false where the system refused it for some.
bool sg_resident_do(const sg_resident_units *units, int64_t unit, sg_resident_act act);
// Pages of a unit and how many are in memory; false where the system does not say.
bool sg_resident_look(const sg_resident_units *units, int64_t unit, int64_t *pages,
                      int64_t *resident);
// Which units are to stay within a budget: kept (count), by their kinds, blocks by how often they
// were read, then by number; blocks that were never read do not.
sg_status sg_resident_choose(const sg_resident_units *units, int64_t budget, bool *kept,
                             sg_error *err);

#endif
