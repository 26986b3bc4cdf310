// A member "checksum" of a JSON object, over all its other members: nothing that matters in a small
// file of ours can be changed by damage or by hand unnoticed.
#ifndef SG_FORMAT_JSON_SEAL_H
#define SG_FORMAT_JSON_SEAL_H

#include <jansson.h>

#include "base/status.h"

// 16 lower-case hexadecimal digits to a checksum; false when the text is anything else.
bool sg_json_hash_parse(const char *text, uint64_t *hash);
// Sets the member "checksum", in the place of one that is there. `name` is what errors call the
// object.
sg_status sg_json_seal(json_t *object, const char *name, sg_error *err);
// Compares the member "checksum" with the rest of the object, and removes it. SG_ERR_FORMAT says
// what was found; without such a member too.
sg_status sg_json_check_seal(json_t *object, const char *name, sg_error *err);

#endif
