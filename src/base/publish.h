// Files of a folder that are replaced together: after a crash all of them are old or all new.
//
// The new files are written and synced in FOLDER/.incoming.tmp, which is renamed to
// FOLDER/.incoming: from that moment they are decided. Then they move up one by one, and .incoming
// goes. A crash in between leaves .incoming behind. The next writer finishes the moves; readers
// change nothing, and find each file where it is with sg_published_path. Other files in the folder
// stay.
//
// Writers of one folder keep each other out by a claim (sg_folder_claim).
#ifndef SG_BASE_PUBLISH_H
#define SG_BASE_PUBLISH_H

#include "base/file.h"
#include "sgatlin_data.h"

// What is published together. Names that `expects` refuses are neither written nor moved.
typedef struct sg_publication {
    bool (*expects)(const char *name);
    const char *last; // moves when all others have moved
    // Before the moves: removes old files that would be taken for the new ones. names: those still
    // in .incoming. May be NULL.
    sg_status (*before)(const char *folder, char **names, size_t count, sg_error *err);
    // After them: removes old files that belong to nothing any more. Both may be run twice.
    sg_status (*after)(const char *folder, sg_error *err);
} sg_publication;

// Makes the folder when missing, finishes what a crash interrupted, and makes an empty folder for
// the new files, whose path it writes to `staging`.
sg_status sg_publish_begin(const sg_publication *kind, const char *folder,
                           char staging[SG_PATH_MAX], sg_error *err);
// Publishes what has been written and synced there. After a failure the old files are there, whole,
// or the new ones after sg_publish_recover.
sg_status sg_publish_end(const sg_publication *kind, const char *folder, sg_error *err);
// In the place of it: removes what has been written, gives the space back.
void sg_publish_abandon(const char *folder);
// Finishes what a crash interrupted; without effect when there is nothing. For writers. What no
// publication leaves (a link, other names) is an error that says so, and stays untouched.
sg_status sg_publish_recover(const sg_publication *kind, const char *folder, sg_error *err);

// Whether a folder holds files that are decided and have not all moved up.
bool sg_publish_is_interrupted(const char *folder);

// The path at which a reader finds a file of a folder: FOLDER/NAME, or FOLDER/.incoming/NAME while
// it has not moved up yet. Changes nothing. *moving (may be NULL): the latter.
sg_status sg_published_path(char *out, size_t capacity, const char *folder, const char *name,
                            bool *moving, sg_error *err);

#endif
