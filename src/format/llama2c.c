// The llama2.c reader. The sizes decide the bytes of the file, so a file of another length is
// refused before anything is made of it.
#include "format/llama2c.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/name_index.h"

enum {
    l2c_header = 7 * 4,
    l2c_magic = 0x616b3432, // "ak42", in front of later versions
    l2c_kinds = 13
};

struct sg_llama2c {
    char *name;
    sg_map map; // empty where the file is in memory of others
    sg_llama2c_sizes sizes;
    sg_tensor_view *views;
    size_t count;
    sg_name_index names;
    sg_arena arena; // names
};

// What the file holds, one kind after the other; of layered ones first all layers of one kind.
typedef struct l2c_kind {
    const char *name; // of a layered one: behind "layers.I."; NULL: passed over
    bool layered;
    int64_t rows, columns; // rows 0: a vector of `columns`
} l2c_kind;

static void l2c_list(const sg_llama2c_sizes *s, l2c_kind kinds[l2c_kinds])
{
    int64_t head = s->dim / s->n_heads, key = s->n_kv_heads * head;
    const l2c_kind list[l2c_kinds] = {
        {"tok_embeddings.weight", false, s->vocab_size, s->dim},
        {"attention_norm.weight", true, 0, s->dim},
        {"attention.wq.weight", true, s->dim, s->dim},
        {"attention.wk.weight", true, key, s->dim},
        {"attention.wv.weight", true, key, s->dim},
        {"attention.wo.weight", true, s->dim, s->dim},
        {"ffn_norm.weight", true, 0, s->dim},
        {"feed_forward.w1.weight", true, s->hidden_dim, s->dim},
        {"feed_forward.w2.weight", true, s->dim, s->hidden_dim},
        {"feed_forward.w3.weight", true, s->hidden_dim, s->dim},
        {"norm.weight", false, 0, s->dim},
        {NULL, false, s->seq_len, head}, // cosines, then sines: (seq_len, head / 2) each
        {s->tied ? NULL : "output.weight", false, s->tied ? 0 : s->vocab_size,
         s->tied ? 0 : s->dim},
    };
    memcpy(kinds, list, sizeof list);
}

// The shape of one tensor of a kind; returns its bytes, or -1 when they are too many.
static int64_t l2c_shape(const l2c_kind *kind, int64_t shape[2], int *ndim)
{
    *ndim = kind->rows > 0 ? 2 : 1;
    shape[0] = kind->rows > 0 ? kind->rows : kind->columns;
    shape[1] = kind->columns;
    return sg_shape_bytes(SG_DTYPE_F32, *ndim, shape);
}

// ---- sizes ------------------------------------------------------------------------------------

static int32_t l2c_int(const unsigned char *p)
{
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                     (uint32_t)p[3] << 24);
}

static sg_status l2c_take_sizes(const sg_llama2c *l, const unsigned char *data,
                                sg_llama2c_sizes *sizes, sg_error *err)
{
    static const char *const names[7] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                         "n_kv_heads", "vocab_size", "seq_len"};
    int64_t values[7];
    if (l2c_int(data) == l2c_magic)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: version: found %d, expected 0, a file that starts with its sizes",
                       l->name, l2c_int(data + 4));
    for (int i = 0; i < 7; i++) {
        values[i] = l2c_int(data + 4 * i);
        if (values[i] > 0 || (i == 5 && values[i] < 0)) continue;
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found %lld, expected at least 1", l->name,
                       names[i], (long long)values[i]);
    }
    bool tied = values[5] > 0;
    *sizes = (sg_llama2c_sizes){.dim = values[0],
                                .hidden_dim = values[1],
                                .n_layers = values[2],
                                .n_heads = values[3],
                                .n_kv_heads = values[4],
                                .vocab_size = tied ? values[5] : -values[5],
                                .seq_len = values[6],
                                .tied = tied};
    if (sizes->dim % sizes->n_heads != 0 || sizes->dim / sizes->n_heads % 2 != 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: n_heads: found %lld, expected an even part of dim %lld", l->name,
                       (long long)sizes->n_heads, (long long)sizes->dim);
    if (sizes->n_heads % sizes->n_kv_heads != 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: n_kv_heads: found %lld, expected a divisor of n_heads %lld", l->name,
                       (long long)sizes->n_kv_heads, (long long)sizes->n_heads);
    return SG_OK;
}

// Whether the file has exactly the bytes that its sizes ask for.
static sg_status l2c_check_bytes(const sg_llama2c *l, const l2c_kind kinds[l2c_kinds], size_t bytes,
                                 sg_error *err)
{
    int64_t expected = l2c_header, shape[2];
    for (int i = 0; i < l2c_kinds && expected >= 0; i++) {
        int ndim;
        int64_t one = l2c_shape(&kinds[i], shape, &ndim);
        int64_t copies = kinds[i].layered ? l->sizes.n_layers : 1;
        if (one < 0 || one > (INT64_MAX - expected) / copies)
            expected = -1;
        else
            expected += one * copies;
    }
    if (expected >= 0 && (uint64_t)expected == bytes) return SG_OK;
    if (expected < 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: its sizes are too large: not a llama2.c file",
                       l->name);
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: found %zu bytes, its sizes ask for %lld: cut off, or not a llama2.c file",
                   l->name, bytes, (long long)expected);
}

// ---- tensors ----------------------------------------------------------------------------------

static sg_status l2c_memory(const sg_llama2c *l, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its list of tensors", l->name);
}

static sg_status l2c_add(sg_llama2c *l, const l2c_kind *kind, int64_t layer,
                         const unsigned char **at, sg_error *err)
{
    char text[64];
    int64_t shape[2];
    int ndim;
    int64_t bytes = l2c_shape(kind, shape, &ndim);
    if (kind->name != NULL) {
        int length = kind->layered ? snprintf(text, sizeof text, "layers.%lld.%s", (long long)layer,
                                              kind->name)
                                   : snprintf(text, sizeof text, "%s", kind->name);
        const char *name = sg_arena_strndup(&l->arena, text, (size_t)length);
        if (name == NULL) return l2c_memory(l, err);
        l->views[l->count++] = sg_tensor_view_make(name, SG_DTYPE_F32, ndim, shape, *at);
    }
    *at += bytes;
    return SG_OK;
}

static sg_status l2c_parse(sg_llama2c *l, const void *data, size_t bytes, sg_error *err)
{
    const unsigned char *at = data;
    l2c_kind kinds[l2c_kinds];
    if (bytes < l2c_header)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu bytes, expected a llama2.c file", l->name,
                       bytes);
    SG_TRY(l2c_take_sizes(l, at, &l->sizes, err));
    l2c_list(&l->sizes, kinds);
    SG_TRY(l2c_check_bytes(l, kinds, bytes, err));
    size_t most = 0;
    for (int i = 0; i < l2c_kinds; i++)
        most += kinds[i].layered ? (size_t)l->sizes.n_layers : 1;
    l->views = sg_alloc_array(most, sizeof *l->views);
    if (l->views == NULL) return l2c_memory(l, err);
    at += l2c_header;
    for (int i = 0; i < l2c_kinds; i++)
        for (int64_t layer = 0; layer < (kinds[i].layered ? l->sizes.n_layers : 1); layer++)
            SG_TRY(l2c_add(l, &kinds[i], layer, &at, err));
    if (!sg_name_index_build(&l->names, l->views, sizeof *l->views, l->count))
        return l2c_memory(l, err);
    return SG_OK;
}

// ---- opening ----------------------------------------------------------------------------------

static sg_status l2c_new(const char *name, sg_llama2c **out, sg_error *err)
{
    *out = NULL;
    sg_llama2c *l = sg_alloc_zero(1, sizeof *l);
    if (l == NULL || (l->name = sg_strdup(name)) == NULL) {
        sg_free(l);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    }
    *out = l;
    return SG_OK;
}

// Keeps the file, or closes it.
static sg_status l2c_finish(sg_llama2c **out, sg_status status)
{
    if (status == SG_OK) return SG_OK;
    sg_llama2c_close(*out);
    *out = NULL;
    return status;
}

sg_status sg_llama2c_open(const char *path, sg_llama2c **out, sg_error *err)
{
    SG_TRY(l2c_new(path, out, err));
    sg_status status = sg_map_open(path, &(*out)->map, err);
    if (status == SG_OK) status = l2c_parse(*out, (*out)->map.data, (*out)->map.bytes, err);
    return l2c_finish(out, status);
}

sg_status sg_llama2c_open_memory(const void *data, size_t bytes, const char *name, sg_llama2c **out,
                                 sg_error *err)
{
    SG_TRY(l2c_new(name, out, err));
    return l2c_finish(out, l2c_parse(*out, data, bytes, err));
}

void sg_llama2c_close(sg_llama2c *l)
{
    if (l == NULL) return;
    sg_map_close(&l->map);
    sg_name_index_free(&l->names);
    sg_free(l->views);
    sg_arena_free(&l->arena);
    sg_free(l->name);
    sg_free(l);
}

const char *sg_llama2c_name(const sg_llama2c *l)
{
    return l->name;
}

const sg_llama2c_sizes *sg_llama2c_get_sizes(const sg_llama2c *l)
{
    return &l->sizes;
}

size_t sg_llama2c_count(const sg_llama2c *l)
{
    return l->count;
}

const sg_tensor_view *sg_llama2c_at(const sg_llama2c *l, size_t i)
{
    return &l->views[i];
}

const sg_tensor_view *sg_llama2c_find(const sg_llama2c *l, const char *name)
{
    ptrdiff_t found = sg_name_index_find(&l->names, name);
    return found != SG_NAME_NONE ? &l->views[found] : NULL;
}
