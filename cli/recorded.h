// What the commands that read a record of gates share: ranges and lists of the command line, and
// how tokens of a record are shown.
#ifndef SGATLIN_CLI_RECORDED_H
#define SGATLIN_CLI_RECORDED_H

#include "cli/cli.h"
#include "sgatlin_gates.h"

// "8", "0-15" or "16-" (to the end: *last is INT64_MAX). False: it is none of them.
bool cli_range_read(const char *text, int64_t *first, int64_t *last);
// Whether a list such as "0,2-4" has the number; NULL has them all.
bool cli_list_has(const char *list, int64_t number);
// False: it is no such list.
bool cli_list_valid(const char *list);
// That layers and channels of such lists (NULL: all) are recorded, channels in each of the layers.
sg_status cli_lists_recorded(const sg_record *record, const char *layers, const char *channels,
                             sg_error *err);

// Says in a line what of a channel was compared, where it is not the scores of all that it reads.
void cli_patterns_note(const cli_args *args, const sg_patterns *patterns);

// A token and the text around it on stdout, "…before **token** behind…", control characters spelt
// out.
sg_status cli_excerpt_print(sg_record *record, int64_t token, int64_t around, sg_error *err);
// {"before", "token", "after"}
sg_status cli_excerpt_json(sg_record *record, int64_t token, int64_t around, json_t **value,
                           sg_error *err);
// The likeliest next tokens behind a token, at most `most`: ` -> "dog" 0.31, "cat" 0.02`; nothing
// where none were recorded.
sg_status cli_predictions_print(sg_record *record, int64_t token, int64_t most, sg_error *err);
// [{"id", "text", "logprob"}]
sg_status cli_predictions_json(sg_record *record, int64_t token, int64_t most, json_t **value,
                               sg_error *err);
// The text of an id of the vocabulary; half a character becomes U+FFFD. NULL: out of memory.
json_t *cli_token_json(const sg_record *record, int32_t id);
void cli_token_print(const sg_record *record, int32_t id);

#endif
