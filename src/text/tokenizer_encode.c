// Text to ids: added tokens, normalisers, words, merges, in the order of the Hugging Face library.
#include <string.h>

#include "base/alloc.h"
#include "text/normalize.h"
#include "text/tokenizer.h"

static sg_status encode_no_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory while encoding text");
}

// ---- normalisers ------------------------------------------------------------------------------

static bool encode_lower(const char *text, size_t bytes, sg_bytes *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t code, lower[2];
        at += (size_t)sg_utf8_decode_valid(text + at, &code);
        int count = sg_char_lower(code, lower);
        for (int i = 0; i < count; i++) {
            char piece[4];
            if (!sg_bytes_add(out, piece, (size_t)sg_utf8_encode(lower[i], piece))) return false;
        }
    }
    return true;
}

static bool encode_strip(const sg_hf_normalizer *step, const char *text, size_t bytes,
                         sg_bytes *out)
{
    size_t begin = 0, end = bytes;
    uint32_t code;
    while (step->left && begin < end) {
        int length = sg_utf8_decode_valid(text + begin, &code);
        if (!sg_char_is_space(code)) break;
        begin += (size_t)length;
    }
    while (step->right && end > begin) {
        size_t before = end - 1;
        while (((unsigned char)text[before] & 0xC0) == 0x80)
            before--;
        sg_utf8_decode_valid(text + before, &code);
        if (!sg_char_is_space(code)) break;
        end = before;
    }
    return sg_bytes_add(out, text + begin, end - begin);
}

static bool encode_normalize_step(const sg_hf_normalizer *step, const char *text, size_t bytes,
                                  sg_bytes *out)
{
    switch (step->kind) {
    case SG_HF_NFC:
        return sg_normalize(SG_FORM_NFC, text, bytes, out);
    case SG_HF_NFD:
        return sg_normalize(SG_FORM_NFD, text, bytes, out);
    case SG_HF_NFKC:
        return sg_normalize(SG_FORM_NFKC, text, bytes, out);
    case SG_HF_NFKD:
        return sg_normalize(SG_FORM_NFKD, text, bytes, out);
    case SG_HF_LOWERCASE:
        return encode_lower(text, bytes, out);
    case SG_HF_PREPEND:
        return (bytes == 0 || sg_bytes_add(out, step->content.text, step->content.bytes)) &&
               sg_bytes_add(out, text, bytes);
    case SG_HF_REPLACE:
        return sg_bytes_add_replaced(out, text, bytes, step->pattern.text, step->pattern.bytes,
                                     step->content.text, step->content.bytes);
    case SG_HF_STRIP:
        return encode_strip(step, text, bytes, out);
    }
    return false;
}

static bool encode_nothing_to_do(const sg_hf_normalizer *step, const char *text, size_t bytes)
{
    switch (step->kind) {
    case SG_HF_NFC:
        return sg_is_plainly_normal(SG_FORM_NFC, text, bytes);
    case SG_HF_NFD:
        return sg_is_plainly_normal(SG_FORM_NFD, text, bytes);
    case SG_HF_NFKC:
        return sg_is_plainly_normal(SG_FORM_NFKC, text, bytes);
    case SG_HF_NFKD:
        return sg_is_plainly_normal(SG_FORM_NFKD, text, bytes);
    default:
        return false;
    }
}

sg_status sg_normalize_steps(const sg_hf_tokenizer *hf, sg_bytes buffers[2], const char *text,
                             size_t bytes, sg_hf_string *out, sg_error *err)
{
    *out = (sg_hf_string){text, bytes};
    int next = 0;
    for (size_t i = 0; i < hf->normalizer_count; i++) {
        const sg_hf_normalizer *step = &hf->normalizers[i];
        if (encode_nothing_to_do(step, out->text, out->bytes)) continue;
        sg_bytes *buffer = &buffers[next];
        buffer->count = 0;
        buffer->most = sg_bytes_limit(bytes);
        buffer->full = false;
        if (!encode_normalize_step(step, out->text, out->bytes, buffer))
            return buffer->full ? sg_fail(err, SG_ERR_UNSUPPORTED,
                                          "normalizer: found steps that make more than %zu bytes "
                                          "of a text of %zu, which is not supported",
                                          buffer->most, bytes)
                                : encode_no_memory(err);
        *out = (sg_hf_string){buffer->data, buffer->count};
        next = 1 - next;
    }
    return SG_OK;
}

// ---- encoders ---------------------------------------------------------------------------------

void sg_encoder_free(sg_encoder *encoder)
{
    if (encoder == NULL) return;
    sg_cutting_close(&encoder->cutting);
    sg_bpe_scratch_free(encoder->words);
    sg_free(encoder->normal[0].data);
    sg_free(encoder->normal[1].data);
    sg_free(encoder->raw.data);
    sg_free(encoder->normalized.data);
    sg_free(encoder);
}

// Takes an idle encoder or makes one; NULL when out of memory.
static sg_encoder *encode_take(sg_tokenizer *t)
{
    pthread_mutex_lock(&t->lock);
    sg_encoder *encoder = t->encoders;
    if (encoder != NULL) t->encoders = encoder->next;
    pthread_mutex_unlock(&t->lock);
    if (encoder != NULL) return encoder;
    encoder = sg_alloc_zero(1, sizeof *encoder);
    if (encoder == NULL) return NULL;
    encoder->words = sg_bpe_scratch_new();
    if (encoder->words == NULL || sg_cutting_open(t->cutter, &encoder->cutting, NULL) != SG_OK) {
        sg_encoder_free(encoder);
        return NULL;
    }
    return encoder;
}

static void encode_give_back(sg_tokenizer *t, sg_encoder *encoder)
{
    pthread_mutex_lock(&t->lock);
    encoder->next = t->encoders;
    t->encoders = encoder;
    pthread_mutex_unlock(&t->lock);
}

// ---- the way of a text ------------------------------------------------------------------------

static sg_status encode_words(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t bytes,
                              bool leads, sg_ids *out, sg_error *err)
{
    if (bytes == 0) return SG_OK;
    SG_TRY(sg_cutter_run(t->cutter, &e->cutting, text, bytes, leads, err));
    const sg_cutting *c = &e->cutting;
    e->lost += (int64_t)c->removed;
    for (size_t i = 0; i < c->count; i++) {
        const sg_span *word = &c->words[i];
        if (!sg_bpe_word(t->bpe, e->words, c->text + word->begin, word->end - word->begin, out,
                         &e->lost))
            return encode_no_memory(err);
    }
    return SG_OK;
}

// A piece without raw added tokens: normalise it, take out the other added tokens, encode the rest.
// `leads`: the text begins with it.
static sg_status encode_piece(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t bytes,
                              bool leads, bool skip_special, sg_ids *out, sg_error *err)
{
    sg_hf_string normal;
    SG_TRY(sg_normalize_steps(t->hf, e->normal, text, bytes, &normal, err));
    if (t->normalized_set == NULL)
        return encode_words(t, e, normal.text, normal.bytes, leads, out, err);
    e->normalized.count = 0;
    if (!sg_added_set_split(t->normalized_set, normal.text, normal.bytes, skip_special,
                            &e->normalized))
        return encode_no_memory(err);
    for (size_t i = 0; i < e->normalized.count; i++) {
        sg_added_piece piece = e->normalized.data[i];
        if (piece.token == NULL)
            SG_TRY(encode_words(t, e, normal.text + piece.begin, piece.end - piece.begin,
                                leads && piece.begin == 0, out, err));
        else if (!sg_ids_add(out, &piece.token->id, 1))
            return encode_no_memory(err);
    }
    return SG_OK;
}

static sg_status encode_text(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t bytes,
                             const sg_encode_options *options, sg_ids *out, sg_error *err)
{
    const sg_hf_tokenizer *hf = t->hf;
    bool skip_special = !options->parse_special;
    if (options->add_special && !sg_ids_add(out, hf->prefix, hf->prefix_count))
        return encode_no_memory(err);
    if (t->raw_set == NULL) {
        SG_TRY(encode_piece(t, e, text, bytes, true, skip_special, out, err));
    } else {
        e->raw.count = 0;
        if (!sg_added_set_split(t->raw_set, text, bytes, skip_special, &e->raw))
            return encode_no_memory(err);
        for (size_t i = 0; i < e->raw.count; i++) {
            sg_added_piece piece = e->raw.data[i];
            if (piece.token == NULL)
                SG_TRY(encode_piece(t, e, text + piece.begin, piece.end - piece.begin,
                                    piece.begin == 0, skip_special, out, err));
            else if (!sg_ids_add(out, &piece.token->id, 1))
                return encode_no_memory(err);
        }
    }
    if (options->add_special && !sg_ids_add(out, hf->suffix, hf->suffix_count))
        return encode_no_memory(err);
    return SG_OK;
}

sg_encode_options sg_encode_options_default(void)
{
    return (sg_encode_options){.add_special = false, .parse_special = true};
}

sg_status sg_tokenizer_encode(const sg_tokenizer *tokenizer, const char *text, size_t bytes,
                              const sg_encode_options *options, int32_t **ids, size_t *count,
                              sg_error *err)
{
    *ids = NULL;
    *count = 0;
    sg_encode_options plain = sg_encode_options_default();
    if (options == NULL) options = &plain;
    if (options->lost_bytes != NULL) *options->lost_bytes = 0;
    if (options->replaced != NULL) *options->replaced = 0;
    sg_bytes repaired = {0};
    if (sg_utf8_valid_prefix(text, bytes) != bytes) {
        if (!sg_utf8_repair(text, bytes, &repaired, options->replaced)) {
            sg_free(repaired.data);
            return encode_no_memory(err);
        }
        text = repaired.data;
        bytes = repaired.count;
    }
    // The pool of encoders is the only thing behind the handle that changes; it has its lock.
    sg_tokenizer *t = (sg_tokenizer *)tokenizer;
    sg_encoder *encoder = encode_take(t);
    sg_ids out = {0};
    if (encoder != NULL) encoder->lost = 0;
    sg_status status = encoder == NULL || !sg_ids_add(&out, NULL, 0) // never a NULL result
                           ? encode_no_memory(err)
                           : encode_text(t, encoder, text, bytes, options, &out, err);
    if (encoder != NULL && options->lost_bytes != NULL) *options->lost_bytes = encoder->lost;
    if (encoder != NULL) encode_give_back(t, encoder);
    sg_free(repaired.data);
    if (status != SG_OK) {
        sg_free(out.data);
        return status;
    }
    *ids = out.data;
    *count = out.count;
    return SG_OK;
}
