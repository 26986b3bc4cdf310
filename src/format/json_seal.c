// The checksum is taken over the compact text of the object without the member, which parsing and
// writing again reproduce (jansson keeps the order of keys and writes 17 digits of a number), so
// white space is free and everything that means something is covered.
#include "format/json_seal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "format/json.h"

static const char seal_member[] = "checksum";

bool sg_json_hash_parse(const char *text, uint64_t *hash)
{
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) return false;
    return sscanf(text, "%16" SCNx64, hash) == 1;
}

static sg_status seal_hash(const json_t *object, const char *name, uint64_t *hash, sg_error *err)
{
    char *text;
    sg_status status = sg_json_text(object, false, &text, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", name);
    *hash = sg_hash(text, strlen(text));
    sg_free(text);
    return SG_OK;
}

sg_status sg_json_seal(json_t *object, const char *name, sg_error *err)
{
    uint64_t hash = 0;
    char text[17];
    json_object_del(object, seal_member);
    SG_TRY(seal_hash(object, name, &hash, err));
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    if (json_object_set_new(object, seal_member, json_string(text)) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

sg_status sg_json_check_seal(json_t *object, const char *name, sg_error *err)
{
    const char *text;
    uint64_t said, found = 0;
    SG_TRY(sg_json_get_string(object, name, seal_member, true, &text, err));
    if (!sg_json_hash_parse(text, &said))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: \"checksum\": found \"%.40s\", expected 16 hexadecimal digits", name,
                       text);
    json_object_del(object, seal_member);
    SG_TRY(seal_hash(object, name, &found, err));
    if (found != said)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: damaged: its checksum is %016" PRIx64 ", expected %016" PRIx64, name,
                       found, said);
    return SG_OK;
}
