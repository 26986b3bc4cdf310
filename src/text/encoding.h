// Text of a source as UTF-8, whatever it was stored in: a byte order mark tells UTF-8, UTF-16 and
// UTF-32, and is taken off. Between sg_source and sg_corpus.
#ifndef SG_TEXT_ENCODING_H
#define SG_TEXT_ENCODING_H

#include "text/source.h"

typedef enum sg_encoding {
    SG_ENCODING_UTF8,
    SG_ENCODING_UTF16_LE,
    SG_ENCODING_UTF16_BE,
    SG_ENCODING_UTF32_LE,
    SG_ENCODING_UTF32_BE
} sg_encoding;

typedef struct sg_decoded sg_decoded;

// As sg_source_open. Text in which every second byte is NUL is refused: it is UTF-16 whose mark was
// lost, and nobody can tell for certain.
sg_status sg_decoded_open(const char *path, sg_decoded **decoded, sg_error *err);
sg_status sg_decoded_open_memory(const void *data, size_t bytes, const char *name,
                                 sg_decoded **decoded, sg_error *err);
void sg_decoded_close(sg_decoded *decoded); // NULL is allowed

// At most `capacity` (>= 16) bytes; *got is 0 at the end only. UTF-8 is handed on unchecked. What
// is no character in UTF-16 or UTF-32 (an unpaired surrogate, half a unit at the end) becomes the
// byte 0xFF, which is in no UTF-8 text: whoever checks that finds each of them.
sg_status sg_decoded_read(sg_decoded *decoded, void *out, size_t capacity, size_t *got,
                          sg_error *err);
sg_encoding sg_decoded_encoding(const sg_decoded *decoded);
// Bytes of the file used so far, as stored.
int64_t sg_decoded_position(const sg_decoded *decoded);

#endif
