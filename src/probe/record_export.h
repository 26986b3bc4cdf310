// Rows of a table on their way into a file of one of the formats.
#ifndef SG_PROBE_RECORD_EXPORT_H
#define SG_PROBE_RECORD_EXPORT_H

#include "base/file.h"
#include "base/utf8.h"
#include "sgatlin_record.h"

typedef enum sg_export_kind {
    SG_EXPORT_INT,   // < 0: not known
    SG_EXPORT_FLOAT, // a float; NaN: not known
    SG_EXPORT_REAL,  // likewise
    SG_EXPORT_TEXT,  // mended where it is not UTF-8
    SG_EXPORT_BYTES  // in hexadecimal where it is not UTF-8, else not known
} sg_export_kind;

typedef struct sg_export_column {
    const char *name;
    sg_export_kind kind;
} sg_export_column;

typedef struct sg_export_value {
    int64_t integer;
    double real;
    const char *text; // NULL: not known
    size_t bytes;
} sg_export_value;

typedef struct sg_export_sink {
    sg_writer *writer; // NULL: rows are counted only
    sg_export_format format;
    const sg_export_column *columns; // one with a name of NULL behind the last
    int64_t rows;
    sg_bytes text; // scratch
} sg_export_sink;

// What stands in front of the rows, `rows` of them.
sg_status sg_export_begin(sg_export_sink *sink, int64_t rows, sg_error *err);
// One row: a value a column.
sg_status sg_export_row(sg_export_sink *sink, const sg_export_value *values, sg_error *err);

#endif
