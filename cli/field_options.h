// Fields of the library (sg_field) as rows of an option table: what is stated there is not said
// again here.
#ifndef SGATLIN_CLI_FIELD_OPTIONS_H
#define SGATLIN_CLI_FIELD_OPTIONS_H

#include "cli/cli.h"

// A row whose value goes to `value`, of the type that the kind of option has (cli/options.h): an
// enum and a text are CLI_STRING. What is there is not touched.
cli_option cli_field_option(const sg_field *field, void *value);
// A title of a group of options.
cli_option cli_heading(const char *title);
// Appends to a table of CLI_MAX_OPTIONS, of which the last row ends it. Returns the new count.
size_t cli_table_add(cli_option *table, size_t count, const cli_option *rows, size_t more);

#endif
