// The numbers of a page: columns of integers, each deflated and written as base64 into an element
// of its own, to which the page's JSON refers:
//
//     {"column": N, "type": "u8" | "i8" | "u16" | "u32", "count": n}
//
// Bytes of one significance lie together, the lowest first, since that deflates better; what
// deflates is in zlib's form (RFC 1950).
#ifndef SG_PROBE_PAGE_COLUMNS_H
#define SG_PROBE_PAGE_COLUMNS_H

#include <jansson.h>

#include "base/status.h"

typedef struct sg_writer sg_writer; // base/file.h

typedef enum sg_page_type { SG_PAGE_U8, SG_PAGE_I8, SG_PAGE_U16, SG_PAGE_U32 } sg_page_type;

typedef struct sg_page_column {
    char *base64; // NULL: left out of the page
    size_t bytes;
} sg_page_column;

// Zeroed it is empty.
typedef struct sg_page_columns {
    sg_page_column *items;
    size_t count, capacity;
} sg_page_columns;

// The smallest unsigned type that holds 0 … most.
sg_page_type sg_page_type_for(int64_t most);
// Adds values (count), of which those bits are kept that the type has. *reference: json_decref.
sg_status sg_page_columns_add(sg_page_columns *columns, sg_page_type type, const int32_t *values,
                              int64_t count, json_t **reference, sg_error *err);
// Bytes of all that are on the page.
int64_t sg_page_columns_bytes(const sg_page_columns *columns);
// Leaves out the columns from `first` to `end` - 1.
void sg_page_columns_drop(sg_page_columns *columns, size_t first, size_t end);
void sg_page_columns_write(const sg_page_columns *columns, sg_writer *writer);
void sg_page_columns_free(sg_page_columns *columns);

#endif
