// A page as a file: the template share/PAGE/PAGE.html ("scope", "report", "curve") with other files
// of that folder, of share/results and of share/page, the JSON of the page and its columns put in.
#ifndef SG_PROBE_PAGE_WRITE_H
#define SG_PROBE_PAGE_WRITE_H

#include "probe/page_columns.h"

// Bytes of all but the columns, for a manifest of so many, of a page that uses no share/results.
int64_t sg_page_frame_bytes(const char *page, int64_t manifest);
// The manifest as text that is safe inside an element: no "<" is in it. *text: sg_free.
sg_status sg_page_manifest_text(const json_t *manifest, char **text, sg_error *err);
// Writes the page, crash-safe: the manifest in an element whose id is the page's name, behind it
// the columns (NULL: none). What is there is replaced with `force` alone (SG_ERR_ARGUMENT).
// *bytes: of the file.
sg_status sg_page_write(const char *path, bool force, const char *page, const char *manifest,
                        const sg_page_columns *columns, int64_t *bytes, sg_error *err);

#endif
