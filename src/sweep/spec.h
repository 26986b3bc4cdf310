// Sweep files, docs/FORMATS.md: a JSON object of options, axes and what is searched, read into the
// cells of its grid. Every cell is checked when the file is read: its options exist, fit each other
// and make a model, so that nothing is refused hours later.
#ifndef SG_SWEEP_SPEC_H
#define SG_SWEEP_SPEC_H

#include "sweep/sweep.h"

enum { SG_SWEEP_CELLS_MOST = 100000 };

// data: the folder of packed data in the place of the file's, which `root` has from then on; NULL:
// the file's. Errors name the file and the place in it ("axes.lr[2]"). sg_sweep_spec_clear releases
// the spec; after an error it is cleared.
sg_status sg_sweep_spec_read(const char *path, const char *data, sg_sweep_spec *spec,
                             sg_error *err);
// The same of text; `name` is what errors call it.
sg_status sg_sweep_spec_parse(const char *text, size_t bytes, const char *name, const char *data,
                              sg_sweep_spec *spec, sg_error *err);
void sg_sweep_spec_clear(sg_sweep_spec *spec);

// The options of a run of a cell, whole but for what the data say; the seed is the file's first,
// and what is searched is as in a run that nobody searches.
sg_status sg_sweep_cell_options(const sg_sweep_spec *spec, const sg_sweep_cell *cell,
                                sg_train_options *options, sg_error *err);
// The same cell at another scale, which the file need not have; `index` is that of `cell`.
// SG_ERR_ARGUMENT where the file has no such axis or no model is of that scale (the message says
// why). sg_sweep_cell_clear, or json_decref of its options, releases it.
sg_status sg_sweep_cell_at_scale(const sg_sweep_spec *spec, const sg_sweep_cell *cell, double scale,
                                 sg_sweep_cell *out, sg_error *err);
void sg_sweep_cell_clear(sg_sweep_cell *cell);

#endif
