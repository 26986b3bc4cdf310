// The folder of a sweep: what it was begun with must be what it goes on with.
#ifndef SG_SWEEP_SWEEP_FOLDER_H
#define SG_SWEEP_SWEEP_FOLDER_H

#include "sgatlin_sweep.h"
#include "sweep/store.h"

typedef struct sg_sweep_folder {
    char path[4096], data[4096]; // data: packed data that runs are trained on
    char data_hash[24];
    int64_t vocab_size, seq_len, val_tokens;
    char *file; // text of the sweep file
    sg_sweep_spec spec;
    sg_sweep_store *store; // NULL: nothing is there yet
} sg_sweep_folder;

// Reads the file (the text of `options`, or their file) and looks at the data. Nothing is opened to
// be written. sg_sweep_folder_close releases it, here and below also after an error.
sg_status sg_sweep_folder_look(const sg_sweep_options *options, sg_sweep_folder *folder,
                               sg_error *err);
// The same, and opens a sweep that is there. SG_ERR_MISMATCH: it was begun with another file or
// other data. A file that says the same in other words, or adds seeds behind those it has, or
// cells, without changing the order of the others, takes the place of the one before.
sg_status sg_sweep_folder_open(const sg_sweep_options *options, sg_sweep_folder *folder,
                               sg_error *err);
// Makes it where there is none.
sg_status sg_sweep_folder_make(const sg_sweep_options *options, sg_sweep_folder *folder,
                               sg_error *err);
void sg_sweep_folder_close(sg_sweep_folder *folder);

// The checksum of what runs are trained on and asked: the data's, as in run.json, and where there
// are facts (else "") one of it and of their file.
sg_status sg_sweep_data_hash(const char *data, const char *facts, char hash[24], sg_error *err);

// Whether its file and data are those of a sweep that was begun: SG_ERR_MISMATCH says what differs.
sg_status sg_sweep_folder_fits(const sg_sweep_folder *folder, const sg_sweep_results *was,
                               sg_error *err);

#endif
