// What reading a sweep file (spec.c) shares with its axes (spec_axes.c) and cells (spec_cells.c).
//
// A place in the file is kept as text for errors, "axes.lr[2]"; what a file means is always read
// from its JSON, which is small, so that a cell can be made again from its number.
#ifndef SG_SWEEP_SPEC_INSIDE_H
#define SG_SWEEP_SPEC_INSIDE_H

#include "format/json.h"
#include "sweep/spec.h"

enum {
    SG_SPEC_PLACE = 160,  // room for a place
    SG_SPEC_OPTION = 48,  // room for the name of an option
    SG_SPEC_VALUE = 4096, // room for the value of an option as text
    SG_SPEC_AXES = 16     // axes of a group
};

typedef enum sg_spec_axis_kind {
    SG_SPEC_FAMILY = 0,
    SG_SPEC_SCALE,
    SG_SPEC_BUDGET,
    SG_SPEC_OPTION_AXIS, // plain values of an option
    SG_SPEC_BUNDLES      // objects: a name and options
} sg_spec_axis_kind;

typedef struct sg_spec_axis {
    const char *name; // in the file
    sg_spec_axis_kind kind;
    json_t *values; // an array that is not empty
} sg_spec_axis;

// A product of axes. Files without "groups" are one group.
typedef struct sg_spec_group {
    char place[SG_SPEC_PLACE]; // "groups[1]."; ""
    json_t *shared;            // the file's options; NULL: none
    json_t *options;           // the group's own; NULL: none
    sg_spec_axis axes[SG_SPEC_AXES];
    size_t axis_count;
    size_t cells;
} sg_spec_group;

// ---- options and axes (spec_axes.c) -------------------------------------------------------------

// An option's name as the library has it: underscores. False: too long.
bool sg_spec_option_name(const char *key, char name[SG_SPEC_OPTION]);
// A plain value as a command line would have it; false: it is none, or too long.
bool sg_spec_value_text(const json_t *value, char text[SG_SPEC_VALUE]);
// Of the number of groups there are.
size_t sg_spec_group_count(const json_t *root);
// Reads a group and checks all of it that can be said without making cells; root is an object.
sg_status sg_spec_group_read(json_t *root, size_t index, sg_spec_group *group, sg_error *err);
// Whether the group has an option of this name in some cell; *place (SG_SPEC_PLACE) says where.
bool sg_spec_group_sets(const sg_spec_group *group, const char *name, char *place);
const sg_spec_axis *sg_spec_axis_of(const sg_spec_group *group, sg_spec_axis_kind kind);
// The name of a value: of a bundle its name, else its text.
bool sg_spec_value_name(const json_t *value, char name[SG_SWEEP_NAME]);

// ---- cells (spec_cells.c) -----------------------------------------------------------------------

// Cell `number` of a group, from 0, the last axis running fastest. scale: NAN: that of the file.
sg_status sg_spec_cell_make(const sg_sweep_spec *spec, const sg_spec_group *group, size_t number,
                            double scale, sg_sweep_cell *cell, sg_error *err);

#endif
