// Every field of a model's configuration as an option, for the verbs that make or describe one.
#ifndef SGATLIN_CLI_MODEL_OPTIONS_H
#define SGATLIN_CLI_MODEL_OPTIONS_H

#include "cli/cli.h"

// Adds a row for each field of sg_config_field_at, with headings, behind `count` rows of a table of
// CLI_MAX_OPTIONS. Returns how many there are then.
size_t cli_config_options(cli_option *table, size_t count);

// Where the options put their text, by field; NULL: not given.
extern const char *cli_config_values[CLI_MAX_OPTIONS];
// That of one field; NULL: not given.
const char *cli_config_given(const char *field);
// The field whose option has its value there; NULL for an option that is none of these.
const sg_field *cli_config_field_of(const cli_option *option);

// Changes the preset's family when --ffn was given, then sets the other fields that were. seq_len:
// of --seq-len, 0 when not given.
sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err);

// The sizes of a configuration that its family has, by their names; NULL when out of memory.
json_t *cli_config_json(const sg_config *config);

#endif
