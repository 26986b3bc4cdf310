// Models larger than memory: which of the weights that are read where they lie in a mapped file
// stay in memory, and how often what a pass read was there.
// A companion of sgatlin.h, whose conventions hold here too.
//
// A unit is a tensor, or of a sparse layer a block of neurons (an expert) in all its tables; blocks
// of less than a page are taken together in their order. Units stay in the order of what they are,
// as long as they fit in the budget: attention, routers, norms with all small tensors, the
// classifier, dense feed-forward layers, then the blocks that most passes read so far, then
// embeddings of which a pass reads a row a token. The blocks are chosen anew behind 1, 2, 4, 8 …
// passes. No result changes a bit.
#ifndef SGATLIN_RESIDENT_H
#define SGATLIN_RESIDENT_H

#include "sgatlin_probe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sg_resident_kind {
    SG_RESIDENT_ATTENTION = 0,
    SG_RESIDENT_ROUTERS,
    SG_RESIDENT_NORMS, // and other tensors of less than 64 KiB
    SG_RESIDENT_CLASSIFIER,
    SG_RESIDENT_DENSE,
    SG_RESIDENT_BLOCKS,
    SG_RESIDENT_EMBEDDINGS,
    SG_RESIDENT_KINDS
} sg_resident_kind;

typedef struct sg_resident sg_resident;
// budget: bytes of the file that stay at most. Where it is given, what does not stay is put out of
// memory when a pass has read it, and at the start. 0: three quarters of the memory that is free
// now, and what does not stay is left to the system. The model must outlive it, and no tensor be
// written meanwhile. SG_ERR_UNSUPPORTED where no weight is read from a mapped file.
SG_API sg_status sg_resident_new(sg_model *model, int64_t budget, sg_resident **resident,
                                 sg_error *err);
SG_API void sg_resident_free(sg_resident *resident);
// For the session, batch or text that is to be looked after.
SG_API const sg_points *sg_resident_points(const sg_resident *resident);

typedef struct sg_resident_line {
    const char *name;         // "attention", …
    int64_t units, bytes;     // in the file; 0: there are none of this kind
    int64_t kept_units, kept; // that stay, and their bytes
    int64_t locked; // of these the bytes that the system holds (mlock); the rest it may drop
    // Of all passes: units that were read, those among them that were to stay then, pages of what
    // was read, and of these those that were in memory when it was their turn.
    int64_t reads, kept_reads, pages, resident_pages;
} sg_resident_line;

typedef struct sg_resident_report {
    int64_t budget;       // bytes
    bool budget_is_given; // else it was taken from the memory that was free
    int64_t converted;    // bytes of weights that are not read from the file: always in memory
    int64_t passes;
    int64_t waited; // pages that the process waited for the disk for, since the start
    bool told;      // the system tells what is in memory; else resident_pages are 0
    bool dropped;   // false: the system would not put out of memory what does not stay
    sg_resident_line lines[SG_RESIDENT_KINDS];
} sg_resident_report;
SG_API sg_resident_report sg_resident_report_of(const sg_resident *resident);

SG_API int64_t sg_resident_layers(const sg_resident *resident); // of the model
// The units of one layer's blocks (*count, 0 of a layer that has none), in the order of the blocks,
// each with the number of passes that read it; *blocks: of each unit but the last.
SG_API const int64_t *sg_resident_reads(const sg_resident *resident, int64_t layer, int64_t *count,
                                        int64_t *blocks);

#ifdef __cplusplus
}
#endif
#endif
