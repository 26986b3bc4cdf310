// RUN/run.json: what a run computes, on which data, with which arithmetic. Also the two things that
// all small files of a run's folder have in common.
#ifndef SG_TRAIN_RUN_SETTINGS_H
#define SG_TRAIN_RUN_SETTINGS_H

#include <jansson.h>

#include "base/file.h"
#include "format/config_keys.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

typedef struct sg_run_settings {
    sg_train_options options;
    char data_folder[SG_PATH_MAX];
    char data_hash[24]; // of the manifest, and so of every row
    char init_hash[24]; // of the weights of options.init; "": not known yet, or there is none
    char kernel[32], blas[64];
    int64_t steps;      // that the budget bought, when run.json was written
    int64_t changed_at; // the step after which the last change holds (run_changes.h); -1: none
    bool sealed;        // run.json had a checksum, which it did not before there were any
    sg_unread unread;   // its members that are not read
} sg_run_settings;

// The folder of the data; run.json must be able to hold its name.
sg_status sg_run_settings_set_data(sg_run_settings *settings, const char *folder, sg_error *err);
// Computes data_hash from the folder.
sg_status sg_run_settings_hash_data(sg_run_settings *settings, sg_error *err);

// steps: that the budget buys; lazy_tables: what optimizer_rows came to (sg_train_result); command:
// the command line, may be NULL.
sg_status sg_run_settings_write(const sg_run_settings *settings, const char *run_folder,
                                const char *command, int64_t steps, int64_t lazy_tables,
                                const sg_data_info *data, sg_error *err);
// From an object; `path` is what errors call it.
sg_status sg_run_settings_parse(const json_t *object, const char *path, sg_run_settings *settings,
                                sg_error *err);
// SG_ERR_NOT_FOUND when the folder holds no run.
sg_status sg_run_settings_read(const char *run_folder, sg_run_settings *settings, sg_error *err);

// Whether the run's folder has a file or folder of that name.
sg_status sg_run_has(const char *run_folder, const char *name, bool *there, sg_error *err);
// Writes one of its small files, sealed (format/json_seal.h), replacing it at once. Takes the
// object; NULL: out of memory. Files from before there were seals have no member "format".
sg_status sg_run_write_json(const char *run_folder, const char *name, json_t *object,
                            sg_error *err);
// Of a small file that was read: its seal must fit; *sealed: it has one.
sg_status sg_run_check_seal(json_t *object, const char *path, bool *sealed, sg_error *err);
// Reads one, whose seal must fit.
sg_status sg_run_read_json(const char *run_folder, const char *name, json_t **object, bool *sealed,
                           sg_error *err);

#endif
