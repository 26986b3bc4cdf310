// What a reader of configurations has looked at, and what becomes of the rest of a file: a key that
// would change what is computed is refused, one that is known to change nothing is passed over, and
// any other is reported as not read.
#ifndef SG_FORMAT_CONFIG_KEYS_H
#define SG_FORMAT_CONFIG_KEYS_H

#include <jansson.h>

#include "format/gguf.h"
#include "sgatlin.h"

enum { SG_ASKED_MOST = 160 };

// Keys that were asked for, whether they were there or not.
typedef struct sg_asked {
    const char *keys[SG_ASKED_MOST];
    size_t count;
} sg_asked;

void sg_asked_add(sg_asked *asked, const char *key); // a constant
bool sg_asked_has(const sg_asked *asked, const char *key);

// Names of keys that are not read, as many as fit.
typedef struct sg_unread {
    char keys[320]; // "a, b"
    size_t shown, count;
} sg_unread;

// unread may be NULL.
void sg_unread_add(sg_unread *unread, const char *key);
// "FILE: not read, and perhaps of importance: a, b and 3 more"; false when there are none.
bool sg_unread_text(const sg_unread *unread, const char *name, char *text, size_t capacity);

// The members of a config.json of a type of the Hugging Face library that nobody asked for. config:
// what was read. SG_ERR_UNSUPPORTED names the first that the transformer cannot do.
sg_status sg_hf_keys_rest(const json_t *object, const char *name, const sg_config *config,
                          const sg_asked *asked, sg_unread *unread, sg_error *err);
// Whether a member of that library's configurations is known to change nothing.
bool sg_hf_key_is_idle(const char *key);
// That the weights are as they were trained, before anything else is read: packed ones of other
// libraries (GPTQ, AWQ, bitsandbytes, FP8 …) are refused by name. packed: a way of it that the type
// has, or NULL.
sg_status sg_hf_keys_packed(const json_t *object, const char *name, const char *packed,
                            sg_error *err);

// Likewise the keys of a GGUF file; those that were asked for are without their ARCHITECTURE.
sg_status sg_gguf_keys_rest(const sg_gguf *file, const char *architecture, const sg_config *config,
                            const sg_asked *asked, sg_unread *unread, sg_error *err);

#endif
