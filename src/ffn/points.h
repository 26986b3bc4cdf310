// How model code offers the points of include/sgatlin_probe.h while it records: what nobody asked
// for is passed on as it is.
#ifndef SG_FFN_POINTS_H
#define SG_FFN_POINTS_H

#include "op/observe.h"

// All points that were offered, in order.
typedef struct sg_point_list {
    sg_point_info *items; // sg_free
    size_t count, capacity;
} sg_point_list;

// Of one recording.
typedef struct sg_point_recorder {
    const sg_points *asked; // NULL: none
    bool *found;            // (asked->count): which requests fit a point
    sg_pass *pass;
    bool gradient;       // the tape will have a backward pass
    sg_point_list *list; // where points are listed, all as if they were asked for; or NULL
} sg_point_recorder;

// What is at a point.
typedef struct sg_point_place {
    const char *name; // behind "blocks.L."
    unsigned can;     // SG_POINT_…; 0: all
    // The columns are so many runs one behind another: (rows, runs, columns / runs); 0: no runs.
    int64_t runs;
    int64_t ids_end;   // of a selection: see sg_observation
    sg_tensor *counts; // likewise
} sg_point_place;

typedef struct sg_builder sg_builder;

// t, or what is observed of it.
sg_tensor *sg_build_point(const sg_builder *b, sg_tensor *t, const sg_point_place *place);
// The same of a whole tensor that can all.
static inline sg_tensor *sg_build_whole_point(const sg_builder *b, sg_tensor *t, const char *name)
{
    return sg_build_point(b, t, &(sg_point_place){.name = name});
}
// Whether somebody asks for it, and what of it: SG_POINT_… of all together.
bool sg_build_point_asked(const sg_builder *b, const char *name);
unsigned sg_build_point_use(const sg_builder *b, const char *name);

// For points that are no tensor of the tape: calls `each` with every observation of a point with
// this shape (rank 3 at most).
void sg_build_each_point(const sg_builder *b, const sg_point_place *place, sg_kind kind, int rank,
                         const int64_t *shape,
                         void (*each)(void *user, const sg_observation *observation), void *user);

// That every request fits a point, of the kind of pass there is. `all`: the points of the model.
sg_status sg_point_check(const sg_point_recorder *recorder, const sg_point_list *all,
                         sg_error *err);

#endif
