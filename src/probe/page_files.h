// The files of share/page, share/results, share/scope, share/report and share/curve, of which pages
// are made. CMake makes the bytes from them.
#ifndef SG_PROBE_PAGE_FILES_H
#define SG_PROBE_PAGE_FILES_H

#include <stddef.h>

typedef struct sg_page_file {
    const char *name; // "scope/scope.html"
    const unsigned char *data;
    size_t bytes;
} sg_page_file;

extern const sg_page_file sg_page_files[];
extern const size_t sg_page_file_count;

#endif
