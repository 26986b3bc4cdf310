// Results as files that people query: an SQLite database of several tables and a CSV file of one,
// either or both of them. They are written beside their places, and take them when both are whole,
// so that a failure leaves what was there.
#ifndef SG_PROBE_RESULT_FILES_H
#define SG_PROBE_RESULT_FILES_H

#include "base/file.h"
#include "format/sqlite.h"

// Where to: paths, or NULL; with `force` what is there is replaced.
typedef struct sg_result_files {
    const char *out, *csv;
    bool force;
} sg_result_files;

// Before the work begins: whether they could be made.
sg_status sg_result_files_check(const sg_result_files *files, sg_error *err);

// One table: the statement that inserts a row, and who binds and runs it.
typedef struct sg_result_table {
    const char *sql;
    sg_status (*write)(const void *results, sg_statement *s, sg_error *err);
} sg_result_table;

typedef struct sg_result_form {
    const sg_database_kind *kind;
    const char *schema; // what makes the tables
    const sg_result_table *tables;
    size_t count;
    const char *header; // of the CSV file, its line end included
    sg_status (*csv)(const void *results, sg_writer *w, sg_error *err);
} sg_result_form;

sg_status sg_result_files_write(const sg_result_files *files, const sg_result_form *form,
                                const void *results, sg_error *err);

// A row of a table meta(key, value): text, or of NULL the number.
sg_status sg_result_meta(sg_statement *s, const char *key, const char *text, int64_t number,
                         sg_error *err);
// NULL, and of numbers NAN, become NULL.
void sg_result_bind_text(sg_statement *s, int parameter, const char *text);
void sg_result_bind_number(sg_statement *s, int parameter, double number);
// A cell as RFC 4180 has it, in quotes where it must be, and a comma; NULL is empty.
void sg_result_csv_text(sg_writer *w, const char *text);

#endif
