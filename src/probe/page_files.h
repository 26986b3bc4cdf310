// The files of share/scope, of which a page is made. CMake makes the bytes from them.
#ifndef SG_PROBE_PAGE_FILES_H
#define SG_PROBE_PAGE_FILES_H

#include <stddef.h>

typedef struct sg_page_file {
    const char *name; // "page.html"
    const unsigned char *data;
    size_t bytes;
} sg_page_file;

extern const sg_page_file sg_page_files[];
extern const size_t sg_page_file_count;

#endif
