// A split pattern and, behind a NUL, a text to cut with it: the pattern is refused with a message,
// or the words are all of the text, in order.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/pretokenize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_cut(const sg_cutter *cutter, const char *text, size_t bytes)
{
    sg_error err = {0};
    sg_cutting c;
    if (sg_cutting_open(cutter, &c, &err) != SG_OK) abort();
    sg_status status = sg_cutter_run(cutter, &c, text, bytes, true, &err);
    if (status != SG_OK && status != SG_ERR_UNSUPPORTED) abort();
    size_t at = 0;
    for (size_t i = 0; status == SG_OK && i < c.count; i++) {
        if (c.words[i].begin != at) abort();
        at = c.words[i].end;
    }
    if (status == SG_OK && at != bytes) abort();
    sg_cutting_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    const size_t pattern = end == NULL ? size : (size_t)(end - data);
    if (pattern == 0 || pattern > 2000) return 0;
    sg_bytes text = {0};
    const char fallback[] = "ab c's 12\n\n  e\xCC\x81 \xE4\xB8\xAD x-Y";
    bool fine = end == NULL
                    ? sg_bytes_add(&text, fallback, sizeof fallback - 1)
                    : sg_utf8_repair((const char *)end + 1, size - pattern - 1, &text, NULL);
    if (!fine) abort();
    const sg_hf_pre step = {.kind = SG_HF_SPLIT,
                            .pattern = {(const char *)data, pattern},
                            .is_regex = true,
                            .behavior = SG_HF_ISOLATED};
    sg_error err = {0};
    sg_cutter *cutter;
    if (sg_cutter_new(&step, 1, "input", &cutter, &err) == SG_OK) {
        if (text.count > 0) try_cut(cutter, text.data, text.count);
        sg_cutter_free(cutter);
    } else if (err.message[0] == '\0') {
        abort();
    }
    sg_free(text.data);
    return 0;
}
