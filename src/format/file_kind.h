// What a file is that was taken for another: downloads that failed, and forms of other programs.
#ifndef SG_FORMAT_FILE_KIND_H
#define SG_FORMAT_FILE_KIND_H

#include "base/status.h"

// Told from its first bytes, as it stands behind "found"; NULL: not known.
const char *sg_file_kind(const void *data, size_t bytes);
// SG_ERR_FORMAT where the first bytes are of a kind that is known, naming it; else SG_OK.
sg_status sg_file_kind_check(const void *data, size_t bytes, const char *name, const char *expected,
                             sg_error *err);
// The name of a file in a folder that holds weights in a form which is not read, and what that is;
// false: there is none. kind: one of the constants of this module.
bool sg_folder_weights(const char *folder, char name[256], const char **kind);

#endif
