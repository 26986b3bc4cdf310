// The inside of hf_config.h. A model type of the Hugging Face library is one row of a table
// (hf_types.c): its class, the configuration that the class has where a file says nothing, the keys
// of its config.json and the names of its tensors. A key is stated once and goes both ways.
#ifndef SG_FORMAT_HF_TYPE_H
#define SG_FORMAT_HF_TYPE_H

#include "format/hf_config.h"
#include "format/tensor_rules.h"

typedef struct sg_hf_type sg_hf_type;
typedef struct sg_hf_key sg_hf_key;

typedef struct sg_hf_reading {
    const sg_hf_type *type;
    const json_t *object;
    const char *name; // of the file
    sg_config *c;
    sg_asked *asked;
    sg_error *err;
} sg_hf_reading;

typedef struct sg_hf_writing {
    const sg_config *c;
    const sg_hf_layers *layers;
    json_t *object;
    bool failed; // out of memory
} sg_hf_writing;

typedef enum sg_hf_kind {
    SG_HF_OWN,        // what `read` and `write` say
    SG_HF_INT,        // at least `low`
    SG_HF_NUMBER,     // a 0 is kept as -0: it is not one that is left out (sg_config)
    SG_HF_FLAG,       // a field that is 0 or 1
    SG_HF_NOT,        // a flag that is true where the field is 0
    SG_HF_TOKEN,      // an id, or the first of a list of them; -1: null
    SG_HF_ACTIVATION, // ffn_activation, of a dense layer or of gates
    SG_HF_IS_FLAG,    // must be `low`
    SG_HF_IS_NUMBER,  // must be `number`
    SG_HF_IS_TEXT     // must be `text`
} sg_hf_kind;

struct sg_hf_key {
    const char *name;
    sg_hf_kind kind;
    size_t field; // of sg_config, by its offset
    int64_t low;
    bool required;
    bool unread, unwritten; // goes one way only
    double number;
    const char *text;
    // In place of what the kind says, where given.
    sg_status (*read)(const sg_hf_reading *r, const sg_hf_key *key);
    void (*write)(sg_hf_writing *w, const sg_hf_key *key);
};

// Which layers see a window only, where the file does not list them.
typedef struct sg_hf_window {
    int64_t size;   // where the file does not say; 0: none
    bool asked_for; // "use_sliding_window" must be there
    bool from_border,
        to_border; // the layers from, or before, "max_window_layers" on; neither: all of them
    bool in_turns; // every other one, beginning with the first
} sg_hf_window;

struct sg_hf_type {
    const char *name, *architecture;
    sg_config start;          // its family is the one that the type has
    const sg_hf_key *keys[5]; // lists, each ended by a key without a name; in the order of writing
    const sg_tensor_map *map;
    sg_hf_window window;
    double rotary_share; // of a head that is rotated where the file does not say; 0: all of it
    const char *packed;  // a way of packing weights that is read ("mxfp4"), or NULL
    bool remote;         // the library itself has no class for it
    bool divided;        // the class wants heads that divide the width
};

// By name or number; NULL: there is none.
const sg_hf_type *sg_hf_type_find(const char *name);
const sg_hf_type *sg_hf_type_at(size_t index);

// All keys of the type, in their order.
sg_status sg_hf_read_keys(const sg_hf_reading *r);
void sg_hf_write_keys(sg_hf_writing *w, const sg_hf_type *type);

// ---- members (hf_members.c)
// *out stays as it is where there is none, or null.
const json_t *sg_hf_find(const sg_hf_reading *r, const char *key);
sg_status sg_hf_get_int(const sg_hf_reading *r, const char *key, bool required, int64_t low,
                        int64_t *out);
sg_status sg_hf_get_bool(const sg_hf_reading *r, const char *key, bool *out);
sg_status sg_hf_get_number(const sg_hf_reading *r, const char *key, double *out);
sg_status sg_hf_get_string(const sg_hf_reading *r, const char *key, const char **out);
sg_status sg_hf_get_array(const sg_hf_reading *r, const char *key, json_t **out);
sg_status sg_hf_refuse(const sg_hf_reading *r, const char *key, const char *found,
                       const char *expected);
// In place of that of the type's start, without a rest of its bytes.
void sg_hf_set_activation(sg_config *c, const char *name);
// A list of layers (from 1), runs as a range: "1,3" or "2-28".
sg_status sg_hf_list_layers(const sg_hf_reading *r, const char *key,
                            bool (*has)(const void *, int64_t), const void *of, char *text,
                            size_t capacity);
// The value becomes the object's.
void sg_hf_put(sg_hf_writing *w, const char *key, json_t *value);

// ---- positions and windows (hf_positions.c)
enum { SG_HF_MOST_LAYERS = 1 << 12 };
sg_status sg_hf_read_rope(const sg_hf_reading *r, const sg_hf_key *key);
void sg_hf_write_rope(sg_hf_writing *w, const sg_hf_key *key);
// GPT-NeoX: a share of each head is rotated.
sg_status sg_hf_read_part_rope(const sg_hf_reading *r, const sg_hf_key *key);
void sg_hf_write_part_rope(sg_hf_writing *w, const sg_hf_key *key);
sg_status sg_hf_read_window(const sg_hf_reading *r, const sg_hf_key *key);
// The size, where all layers see the same; a list of layers; the first that has one.
void sg_hf_write_window(sg_hf_writing *w, const sg_hf_key *key);
void sg_hf_write_layer_types(sg_hf_writing *w, const sg_hf_key *key);
void sg_hf_write_border(sg_hf_writing *w, const sg_hf_key *key);

#endif
