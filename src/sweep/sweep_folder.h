// The folder of a sweep: what it was begun with must be what it goes on with.
#ifndef SG_SWEEP_SWEEP_FOLDER_H
#define SG_SWEEP_SWEEP_FOLDER_H

#include "sgatlin_sweep.h"
#include "sweep/store.h"

typedef struct sg_sweep_folder {
    char path[4096], data[4096]; // data: packed data that runs are trained on
    char data_hash[24];
    char *file; // text of the sweep file
    sg_sweep_spec spec;
    sg_sweep_store *store;
} sg_sweep_folder;

// Reads the file (the text of `options`, or their file), looks at the data, makes the folder or
// opens what is there. SG_ERR_MISMATCH: it was begun with another file or other data; a file that
// says the same in other words, or only adds cells or seeds, takes the place of the one before.
// sg_sweep_folder_close releases it, also after an error.
sg_status sg_sweep_folder_open(const sg_sweep_options *options, sg_sweep_folder *folder,
                               sg_error *err);
void sg_sweep_folder_close(sg_sweep_folder *folder);

// The sweep file and the data alone: nothing is made. For plans.
sg_status sg_sweep_folder_look(const sg_sweep_options *options, sg_sweep_folder *folder,
                               sg_error *err);

#endif
