// Before a step that joins (Fuse, ByteLevel) what goes from step to step are whole tokens, behind
// it any pieces of the one joined text. The reader lets only Strip and Fuse stand behind such a
// step.
#include "text/decode_steps.h"

#include <string.h>

#include "base/alloc.h"

struct sg_decode_state {
    bool fused;   // pieces come in, not tokens
    bool begun;   // a token, or a piece with a character that stays, has come
    int64_t cut;  // characters stripped in front
    int64_t held; // characters at the end that Strip may yet drop
    sg_bytes run; // bytes of the tokens <0xHH> that came one after the other
    sg_bytes made;
};

// ---- steps on one token -----------------------------------------------------------------------

static bool decode_starts(const char *text, size_t bytes, sg_hf_string with)
{
    return bytes >= with.bytes && memcmp(text, with.text, with.bytes) == 0;
}

// Bytes of up to `most` characters in front.
static size_t decode_lead(const sg_hf_decoder *step, int64_t most, const char *text, size_t bytes)
{
    size_t lead = 0;
    for (; most > 0 && decode_starts(text + lead, bytes - lead, step->pattern); most--)
        lead += step->pattern.bytes;
    return lead;
}

static size_t decode_trail(const sg_hf_decoder *step, int64_t most, const char *text, size_t bytes)
{
    size_t trail = 0, one = step->pattern.bytes;
    for (; most > 0 && bytes - trail >= one; most--) {
        if (memcmp(text + bytes - trail - one, step->pattern.text, one) != 0) break;
        trail += one;
    }
    return trail;
}

static bool decode_strip(const sg_hf_decoder *step, const char *text, size_t bytes, sg_bytes *out)
{
    size_t lead = decode_lead(step, step->start, text, bytes);
    text += lead;
    bytes -= lead;
    return sg_bytes_add(out, text, bytes - decode_trail(step, step->stop, text, bytes));
}

// A token that is all byte alphabet becomes those bytes, any other stays as it is.
static bool decode_bytes(const char *text, size_t bytes, sg_bytes *out)
{
    bool whole = false;
    return sg_bytes_unspell(text, bytes, out, &whole) && (whole || sg_bytes_add(out, text, bytes));
}

static bool decode_metaspace(const sg_hf_decoder *step, bool first, const char *text, size_t bytes,
                             sg_bytes *out)
{
    bool gone = first && step->prepend != SG_HF_NEVER;
    return sg_bytes_add_replaced(out, text, bytes, step->pattern.text, step->pattern.bytes, " ",
                                 gone ? 0 : 1);
}

// One of the steps that look at nothing but the token.
static bool decode_alone(const sg_hf_decoder *step, const char *text, size_t bytes, sg_bytes *out)
{
    switch (step->kind) {
    case SG_HF_DECODE_BYTE_LEVEL:
        return decode_bytes(text, bytes, out);
    case SG_HF_DECODE_REPLACE:
        return sg_bytes_add_replaced(out, text, bytes, step->pattern.text, step->pattern.bytes,
                                     step->content.text, step->content.bytes);
    case SG_HF_DECODE_STRIP:
        return decode_strip(step, text, bytes, out);
    case SG_HF_DECODE_METASPACE:
    case SG_HF_DECODE_BYTE_FALLBACK:
    case SG_HF_DECODE_FUSE:
        break;
    }
    return sg_bytes_add(out, text, bytes);
}

// ---- the first steps --------------------------------------------------------------------------

size_t sg_decode_steps_plain(const sg_hf_tokenizer *hf)
{
    size_t count = 0;
    while (count < hf->decoder_count && (hf->decoders[count].kind == SG_HF_DECODE_BYTE_LEVEL ||
                                         hf->decoders[count].kind == SG_HF_DECODE_REPLACE ||
                                         hf->decoders[count].kind == SG_HF_DECODE_STRIP))
        count++;
    return count;
}

bool sg_decode_plain(const sg_hf_tokenizer *hf, const char *token, size_t bytes, sg_bytes *out)
{
    sg_bytes buffers[2] = {{0}, {0}};
    size_t steps = sg_decode_steps_plain(hf), most = sg_bytes_limit(bytes);
    bool fine = true;
    for (size_t i = 0; i < steps && fine; i++) {
        sg_bytes *made = &buffers[i % 2];
        made->count = 0;
        made->most = most;
        fine = sg_bytes_add(made, "", 0) && decode_alone(&hf->decoders[i], token, bytes, made);
        token = made->data;
        bytes = made->count;
    }
    out->full = buffers[0].full || buffers[1].full;
    fine = fine && sg_bytes_add(out, token, bytes);
    sg_free(buffers[0].data);
    sg_free(buffers[1].data);
    return fine;
}

// ---- the rest ---------------------------------------------------------------------------------

bool sg_decoding_open(sg_decoding *d, const sg_hf_tokenizer *hf, bool raw, sg_bytes *out)
{
    size_t plain = sg_decode_steps_plain(hf);
    *d = (sg_decoding){.raw = raw, .out = out, .count = hf->decoder_count - plain};
    if (d->count == 0) return true;
    d->steps = hf->decoders + plain;
    d->states = sg_alloc_zero(d->count, sizeof *d->states);
    if (d->states == NULL) return false;
    for (size_t i = 1; i < d->count; i++)
        d->states[i].fused = d->states[i - 1].fused || d->steps[i - 1].kind == SG_HF_DECODE_FUSE ||
                             d->steps[i - 1].kind == SG_HF_DECODE_BYTE_LEVEL;
    return true;
}

void sg_decoding_close(sg_decoding *d)
{
    for (size_t i = 0; d->states != NULL && i < d->count; i++) {
        sg_free(d->states[i].run.data);
        sg_free(d->states[i].made.data);
    }
    sg_free(d->states);
    *d = (sg_decoding){0};
}

static bool decode_through(sg_decoding *d, size_t at, const char *text, size_t bytes);

// A run of <0xHH> is one token if it is UTF-8, else a U+FFFD for each byte.
static bool decode_end_run(sg_decoding *d, size_t at)
{
    sg_bytes *run = &d->states[at].run;
    size_t count = run->count;
    run->count = 0;
    if (count == 0) return true;
    if (sg_utf8_valid_prefix(run->data, count) == count)
        return decode_through(d, at + 1, run->data, count);
    for (size_t i = 0; i < count; i++)
        if (!decode_through(d, at + 1, "\xEF\xBF\xBD", 3)) return false;
    return true;
}

static bool decode_fall_back(sg_decoding *d, size_t at, const char *text, size_t bytes)
{
    int byte = sg_hf_fallback_byte(text, bytes);
    char one = (char)byte;
    if (byte < 0) return decode_end_run(d, at) && decode_through(d, at + 1, text, bytes);
    if (d->raw) return decode_through(d, at + 1, &one, 1);
    return sg_bytes_add(&d->states[at].run, &one, 1);
}

static bool decode_release(sg_decoding *d, size_t at, int64_t count)
{
    sg_hf_string one = d->steps[at].pattern;
    for (; count > 0; count--)
        if (!decode_through(d, at + 1, one.text, one.bytes)) return false;
    return true;
}

// Strip on the joined text: the end is held back as long as it may be the end of all.
static bool decode_strip_piece(sg_decoding *d, size_t at, const char *text, size_t bytes)
{
    const sg_hf_decoder *step = &d->steps[at];
    struct sg_decode_state *s = &d->states[at];
    int64_t one = (int64_t)step->pattern.bytes;
    if (!s->begun) {
        size_t lead = decode_lead(step, step->start - s->cut, text, bytes);
        s->cut += (int64_t)lead / one;
        text += lead;
        bytes -= lead;
        s->begun = bytes > 0;
    }
    if (bytes == 0) return true;
    size_t trail = decode_trail(step, step->stop, text, bytes);
    int64_t held = (int64_t)trail / one;
    if (trail == bytes) { // goes on with what is held already
        int64_t all = s->held + held, out = all > step->stop ? all - step->stop : 0;
        s->held = all - out;
        return decode_release(d, at, out);
    }
    int64_t before = s->held;
    s->held = held;
    return decode_release(d, at, before) && decode_through(d, at + 1, text, bytes - trail);
}

// Hands a token, or a piece, to step `at` and all behind it.
static bool decode_through(sg_decoding *d, size_t at, const char *text, size_t bytes)
{
    if (at == d->count) return sg_bytes_add(d->out, text, bytes);
    const sg_hf_decoder *step = &d->steps[at];
    struct sg_decode_state *s = &d->states[at];
    bool first = !s->begun;
    switch (step->kind) {
    case SG_HF_DECODE_FUSE:
        return decode_through(d, at + 1, text, bytes);
    case SG_HF_DECODE_BYTE_FALLBACK:
        return decode_fall_back(d, at, text, bytes);
    case SG_HF_DECODE_STRIP:
        if (s->fused) return decode_strip_piece(d, at, text, bytes);
        break;
    case SG_HF_DECODE_METASPACE:
    case SG_HF_DECODE_BYTE_LEVEL:
    case SG_HF_DECODE_REPLACE:
        break;
    }
    s->begun = true;
    s->made.count = 0;
    s->made.most = d->most;
    if (!sg_bytes_add(&s->made, "", 0)) return false;
    bool fine = step->kind == SG_HF_DECODE_METASPACE
                    ? decode_metaspace(step, first, text, bytes, &s->made)
                    : decode_alone(step, text, bytes, &s->made);
    if (s->made.full) d->out->full = true;
    return fine && decode_through(d, at + 1, s->made.data, s->made.count);
}

// What may come of so many bytes and of those that runs hold back.
static void decode_allow(sg_decoding *d, size_t bytes)
{
    for (size_t i = 0; i < d->count; i++)
        bytes += d->states[i].run.count;
    d->most = sg_bytes_limit(bytes);
}

bool sg_decoding_push(sg_decoding *d, const char *text, size_t bytes)
{
    decode_allow(d, bytes);
    return decode_through(d, 0, text, bytes);
}

bool sg_decoding_border(sg_decoding *d)
{
    decode_allow(d, 0);
    for (size_t i = 0; i < d->count; i++) {
        struct sg_decode_state *s = &d->states[i];
        size_t whole = sg_utf8_valid_prefix(s->run.data, s->run.count);
        int64_t held = s->held;
        s->held = 0;
        if ((whole > 0 && !decode_through(d, i + 1, s->run.data, whole)) ||
            !decode_release(d, i, held))
            return false;
        s->run.count -= whole;
        if (s->run.count > 0) memmove(s->run.data, s->run.data + whole, s->run.count);
    }
    return true;
}

bool sg_decoding_finish(sg_decoding *d)
{
    decode_allow(d, 0);
    for (size_t i = 0; i < d->count; i++) {
        struct sg_decode_state *s = &d->states[i];
        if (!decode_end_run(d, i)) return false;
        s->begun = false;
        s->cut = s->held = 0;
    }
    return true;
}
