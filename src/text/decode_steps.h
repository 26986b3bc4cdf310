// The steps of "decoder" in a tokenizer.json, run token by token so that text can be shown as it
// comes. The library runs each over the whole list of tokens; the pieces handed out here, joined,
// are the same.
#ifndef SG_TEXT_DECODE_STEPS_H
#define SG_TEXT_DECODE_STEPS_H

#include "format/hf_tokenizer.h"
#include "text/unicode.h"

// How many steps at the beginning give each token its text whatever stands around it, so that they
// can be taken once for the whole vocabulary.
size_t sg_decode_steps_plain(const sg_hf_tokenizer *hf);
// Appends a token's text after those first steps; false when out of memory, or out->full when they
// make too much of it.
bool sg_decode_plain(const sg_hf_tokenizer *hf, const char *token, size_t bytes, sg_bytes *out);

// The steps behind them, on their way through one text. A zeroed one may be closed.
typedef struct sg_decoding {
    const sg_hf_decoder *steps;
    struct sg_decode_state *states; // (count)
    size_t count;
    size_t most;   // bytes that may come of what is on its way
    bool raw;      // bytes come out as they are, not mended
    sg_bytes *out; // where the text goes
} sg_decoding;

bool sg_decoding_open(sg_decoding *decoding, const sg_hf_tokenizer *hf, bool raw, sg_bytes *out);
void sg_decoding_close(sg_decoding *decoding);
// Takes the text of one more token, as sg_decode_plain gave it; false when out of memory, or
// out->full when the steps make too much of it.
bool sg_decoding_push(sg_decoding *decoding, const char *text, size_t bytes);
// The text so far is only what the wanted one goes on from: appends what was held back of it, but
// for the beginning of a character; false when out of memory.
bool sg_decoding_border(sg_decoding *decoding);
// The end of the text: appends what was held back; another text may follow.
bool sg_decoding_finish(sg_decoding *decoding);

#endif
