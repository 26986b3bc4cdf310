// Model files of llama2.c (github.com/karpathy/llama2.c, run.c): seven sizes, then float32 weights
// in a fixed order and nothing else. A reader that maps the file and trusts nothing in it.
#ifndef SG_FORMAT_LLAMA2C_H
#define SG_FORMAT_LLAMA2C_H

#include "format/tensor_view.h"

// A Llama model: RMSNorm (eps 1e-5), rotary positions of base 10,000 in pairs of neighbours (2i, 2i
// + 1) of each head, SwiGLU, no biases.
typedef struct sg_llama2c_sizes {
    int64_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
    bool tied; // the classifier is the embedding table; said by a vocab_size above 0
} sg_llama2c_sizes;

// Views point into a read-only mapping and live until close. The file must not be shortened by
// others meanwhile: the system would end the process.
typedef struct sg_llama2c sg_llama2c;

// Files without a version in front (export.py, version 0). Refused with a message: sizes that do
// not fit each other, a file that is longer or shorter than they say, later versions
// (SG_ERR_UNSUPPORTED).
sg_status sg_llama2c_open(const char *path, sg_llama2c **out, sg_error *err);
// The same checks on a file in memory, which is borrowed until close. `name` is for messages.
sg_status sg_llama2c_open_memory(const void *data, size_t bytes, const char *name, sg_llama2c **out,
                                 sg_error *err);
void sg_llama2c_close(sg_llama2c *file); // NULL is allowed

// What errors should call it: the path it was opened by.
const char *sg_llama2c_name(const sg_llama2c *file);
const sg_llama2c_sizes *sg_llama2c_get_sizes(const sg_llama2c *file);

// Tensors in the order of the file, F32, matrices as (out, in), by the names that the weights have
// where such files are made (model.py). K = n_kv_heads dim / n_heads.
//   tok_embeddings.weight (vocab_size, dim)      norm.weight (dim)
//   output.weight (vocab_size, dim), only when not tied
//   layers.I.attention_norm.weight, layers.I.ffn_norm.weight (dim)
//   layers.I.attention.wq.weight, .wo.weight (dim, dim); .wk.weight, .wv.weight (K, dim)
//   layers.I.feed_forward.w1.weight, .w3.weight (hidden_dim, dim); .w2.weight (dim, hidden_dim)
// w1 is the gate, w3 the linear part. The tables of cosines and sines in the file are passed over.
size_t sg_llama2c_count(const sg_llama2c *file);
const sg_tensor_view *sg_llama2c_at(const sg_llama2c *file, size_t i);           // i < count
const sg_tensor_view *sg_llama2c_find(const sg_llama2c *file, const char *name); // NULL: none

#endif
