// Ids to text, whole or token by token.
#include <string.h>

#include "base/alloc.h"
#include "text/decode_steps.h"
#include "text/tokenizer.h"

sg_decode_options sg_decode_options_default(void)
{
    return (sg_decode_options){.skip_special = true, .raw = false};
}

static sg_status decode_failed(const sg_bytes *out, sg_error *err)
{
    if (!out->full) return sg_fail(err, SG_ERR_MEMORY, "out of memory while decoding");
    return sg_fail(
        err, SG_ERR_UNSUPPORTED,
        "decoder: found steps that make more than 16 bytes of one, which is not supported");
}

// Hands one more token to the steps. Without a decoder the library joins spellings with spaces.
static sg_status decode_one(const sg_tokenizer *t, int32_t id, bool skip_special, bool *first,
                            sg_decoding *steps, sg_error *err)
{
    if (id < 0 || id >= t->size)
        return sg_fail(err, SG_ERR_ARGUMENT, "token id: found %d, expected 0 to %d", id,
                       t->size - 1);
    if (skip_special && sg_tokenizer_is_special(t, id)) return SG_OK;
    bool space = !t->hf->has_decoder && !*first;
    *first = false;
    size_t begin = t->plain_at[id], end = t->plain_at[id + 1];
    if ((space && !sg_decoding_push(steps, " ", 1)) ||
        !sg_decoding_push(steps, t->plain.data + begin, end - begin))
        return decode_failed(steps->out, err);
    return SG_OK;
}

sg_status sg_tokenizer_decode(const sg_tokenizer *t, const int32_t *ids, size_t count,
                              const sg_decode_options *options, char **text, size_t *bytes,
                              sg_error *err)
{
    *text = NULL;
    *bytes = 0;
    sg_decode_options plain = sg_decode_options_default();
    if (options == NULL) options = &plain;
    sg_bytes out = {0}, repaired = {0};
    bool first = true;
    size_t all = 0;
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < t->size) all += t->plain_at[ids[i] + 1] - t->plain_at[ids[i]];
    out.most = sg_bytes_limit(all + count); // with a space for each
    sg_decoding steps;
    bool fine = sg_decoding_open(&steps, t->hf, options->raw, &out);
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK && fine; i++)
        status = decode_one(t, ids[i], options->skip_special, &first, &steps, err);
    fine = fine && status == SG_OK && sg_decoding_finish(&steps) &&
           sg_bytes_add(&out, "", 1); // the NUL
    sg_decoding_close(&steps);
    if (fine && !options->raw && sg_utf8_valid_prefix(out.data, out.count) != out.count) {
        fine = sg_utf8_repair(out.data, out.count, &repaired, NULL);
        sg_free(out.data);
        out = repaired;
    }
    if (status == SG_OK && !fine) status = decode_failed(&out, err);
    if (status != SG_OK) {
        sg_free(out.data);
        return status;
    }
    *text = out.data;
    *bytes = out.count - 1;
    return SG_OK;
}

struct sg_decoder {
    const sg_tokenizer *tokenizer;
    sg_decode_options options;
    bool first;
    sg_decoding steps;
    sg_bytes pending; // what the steps gave: the beginning of a character
    sg_bytes out;     // what the last call handed out
};

sg_status sg_decoder_new(const sg_tokenizer *tokenizer, const sg_decode_options *options,
                         sg_decoder **decoder, sg_error *err)
{
    *decoder = sg_alloc_zero(1, sizeof **decoder);
    if (*decoder == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    (*decoder)->tokenizer = tokenizer;
    (*decoder)->options = options != NULL ? *options : sg_decode_options_default();
    (*decoder)->first = true;
    sg_decoder *d = *decoder;
    if (sg_decoding_open(&d->steps, tokenizer->hf, d->options.raw, &d->pending)) return SG_OK;
    sg_decoder_free(d);
    *decoder = NULL;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory");
}

void sg_decoder_free(sg_decoder *decoder)
{
    if (decoder == NULL) return;
    sg_decoding_close(&decoder->steps);
    sg_free(decoder->pending.data);
    sg_free(decoder->out.data);
    sg_free(decoder);
}

// Bytes of `text` that can go out now: all but an unfinished character at the end.
static size_t decode_ready(const char *text, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        if (((unsigned char)text[bytes - back] & 0xC0) == 0x80) continue;
        bool incomplete;
        size_t bad = sg_utf8_bad_length(text + bytes - back, back, &incomplete);
        return incomplete && bad == back ? bytes - back : bytes;
    }
    return bytes;
}

// Moves `ready` bytes of the pending ones out, mended where they are not UTF-8.
static sg_status decode_hand_out(sg_decoder *d, size_t ready, const char **text, size_t *bytes,
                                 sg_error *err)
{
    d->out.count = 0;
    bool fine = d->options.raw ? sg_bytes_add(&d->out, d->pending.data, ready)
                               : sg_utf8_repair(d->pending.data, ready, &d->out, NULL);
    if (!fine || !sg_bytes_add(&d->out, "", 1))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory while decoding");
    d->pending.count -= ready;
    memmove(d->pending.data, d->pending.data + ready, d->pending.count);
    *text = d->out.data;
    *bytes = d->out.count - 1;
    return SG_OK;
}

sg_status sg_decoder_push(sg_decoder *d, int32_t id, const char **text, size_t *bytes,
                          sg_error *err)
{
    *text = "";
    *bytes = 0;
    if (!sg_bytes_add(&d->pending, "", 0)) // never NULL below
        return sg_fail(err, SG_ERR_MEMORY, "out of memory while decoding");
    SG_TRY(decode_one(d->tokenizer, id, d->options.skip_special, &d->first, &d->steps, err));
    size_t ready =
        d->options.raw ? d->pending.count : decode_ready(d->pending.data, d->pending.count);
    return decode_hand_out(d, ready, text, bytes, err);
}

sg_status sg_decoder_follow(sg_decoder *d, const int32_t *ids, size_t count, sg_error *err)
{
    const char *text;
    size_t bytes;
    for (size_t i = 0; i < count; i++)
        SG_TRY(sg_decoder_push(d, ids[i], &text, &bytes, err));
    if (!sg_decoding_border(&d->steps)) return decode_failed(&d->pending, err);
    size_t ready = decode_ready(d->pending.data, d->pending.count);
    return ready == 0 ? SG_OK : decode_hand_out(d, ready, &text, &bytes, err);
}

sg_status sg_decoder_finish(sg_decoder *d, const char **text, size_t *bytes, sg_error *err)
{
    *text = "";
    *bytes = 0;
    d->first = true;
    if (!sg_decoding_finish(&d->steps)) return decode_failed(&d->pending, err);
    if (d->pending.count == 0) return SG_OK;
    return decode_hand_out(d, d->pending.count, text, bytes, err);
}
