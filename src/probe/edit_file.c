// Files of edits (docs/FORMATS.md), in JSON:
//
//     {"format": "sgatlin edits", "version": 1,
//      "edits": [{"layer": 2, "channel": 0, "neuron": 17, "do": "scale", "by": 3},
//                {"layer": 2, "channel": "all", "neuron": 5, "do": "remove", "from": 4, "to": 9},
//                {"layer": 1, "neuron": 8, "do": "fix", "at": 1.5, "positions": [3, 7]}]}
//
// What a file says is checked for being of this form; whether the model has such neurons is the
// list's matter (edits.c). A member that is not of the form is an error, so that a word that is
// misspelled does not change what is done.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "probe/edits.h"

typedef struct edit_file {
    const sg_model *model;
    const char *name;
    sg_edit *list;
    size_t count, room;
} edit_file;

// One that is being read: what errors call it.
typedef struct edit_entry {
    const json_t *object;
    char name[SG_PATH_MAX / 4];
    sg_edit edit;
} edit_entry;

static sg_status file_members(const json_t *object, const char *name, const char *const *known,
                              sg_error *err)
{
    char place[SG_PATH_MAX / 4];
    snprintf(place, sizeof place, "%.1000s: ", name);
    return sg_json_only(object, place, known, err);
}

static sg_status file_channel(const edit_file *f, edit_entry *entry, sg_error *err)
{
    const json_t *channel = json_object_get(entry->object, "channel");
    const char *word = json_string_value(channel);
    sg_neuron_table table;
    if (word != NULL && strcmp(word, "all") == 0) {
        entry->edit.channel = -1;
        return SG_OK;
    }
    if (word != NULL)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: channel: found \"%.100s\", expected all or a number", entry->name,
                       word);
    // It may be left out where there is one.
    sg_status status = sg_neuron_table_of(f->model, entry->edit.layer, &table, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", entry->name);
    return sg_json_get_int(entry->object, entry->name, "channel", table.channels > 1, 0, INT32_MAX,
                           &entry->edit.channel, err);
}

static sg_status file_kind(edit_entry *entry, sg_error *err)
{
    static const struct {
        const char *word, *value;
        sg_edit_kind kind;
    } kinds[] = {{"scale", "by", SG_EDIT_SCALE},
                 {"fix", "at", SG_EDIT_FIX},
                 {"remove", NULL, SG_EDIT_REMOVE}};
    const char *word;
    size_t i = 0;
    SG_TRY(sg_json_get_string(entry->object, entry->name, "do", true, &word, err));
    while (i < 3 && strcmp(kinds[i].word, word) != 0)
        i++;
    if (i == 3)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: do: found \"%.100s\", expected scale, fix or remove", entry->name,
                       word);
    const bool by = json_object_get(entry->object, "by") != NULL;
    const bool at = json_object_get(entry->object, "at") != NULL;
    if ((by && kinds[i].kind != SG_EDIT_SCALE) || (at && kinds[i].kind != SG_EDIT_FIX))
        return sg_fail(err, SG_ERR_FORMAT, "%s: found \"%s\" beside %s, expected %s", entry->name,
                       by && kinds[i].kind != SG_EDIT_SCALE ? "by" : "at", word,
                       kinds[i].value != NULL ? kinds[i].value : "none");
    entry->edit.kind = kinds[i].kind;
    if (kinds[i].value == NULL) return SG_OK;
    return sg_json_get_number(entry->object, entry->name, kinds[i].value, true, &entry->edit.value,
                              err);
}

static sg_status file_add(edit_file *f, const sg_edit *edit, sg_error *err)
{
    if (f->count >= SG_EDITS_MOST)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found more than %d edits, expected fewer", f->name,
                       SG_EDITS_MOST);
    if (!sg_grow((void **)&f->list, &f->room, f->count + 1, sizeof *f->list))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for edits of neurons");
    f->list[f->count++] = *edit;
    return SG_OK;
}

// "positions", or "from" and "to".
static sg_status file_positions(edit_file *f, edit_entry *entry, sg_error *err)
{
    json_t *list;
    SG_TRY(sg_json_get_array(entry->object, entry->name, "positions", false, &list, err));
    entry->edit.last = -1;
    SG_TRY(sg_json_get_int(entry->object, entry->name, "from", false, 0, INT32_MAX,
                           &entry->edit.first, err));
    SG_TRY(sg_json_get_int(entry->object, entry->name, "to", false, entry->edit.first, INT32_MAX,
                           &entry->edit.last, err));
    if (list == NULL) return file_add(f, &entry->edit, err);
    if (entry->edit.first != 0 || entry->edit.last != -1)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found positions beside from or to, expected one",
                       entry->name);
    if (json_array_size(list) == 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: positions: found none, expected some", entry->name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *at = json_array_get(list, i);
        if (!json_is_integer(at) || json_integer_value(at) < 0 ||
            json_integer_value(at) > INT32_MAX)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: positions: item %zu: expected an integer from 0 to %d", entry->name,
                           i, INT32_MAX);
        entry->edit.first = entry->edit.last = json_integer_value(at);
        SG_TRY(file_add(f, &entry->edit, err));
    }
    return SG_OK;
}

static sg_status file_entry(edit_file *f, const json_t *object, size_t number, sg_error *err)
{
    static const char *const known[] = {"layer", "channel", "neuron",    "do",   "by", "at",
                                        "from",  "to",      "positions", "note", NULL};
    edit_entry entry = {.object = object};
    snprintf(entry.name, sizeof entry.name, "%.900s: edit %zu", f->name, number);
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected an object", entry.name);
    SG_TRY(file_members(object, entry.name, known, err));
    SG_TRY(
        sg_json_get_int(object, entry.name, "layer", true, 0, INT32_MAX, &entry.edit.layer, err));
    SG_TRY(file_channel(f, &entry, err));
    SG_TRY(
        sg_json_get_int(object, entry.name, "neuron", true, 0, INT32_MAX, &entry.edit.neuron, err));
    SG_TRY(file_kind(&entry, err));
    return file_positions(f, &entry, err);
}

static sg_status file_read(edit_file *f, const json_t *root, sg_error *err)
{
    static const char *const known[] = {"format", "version", "edits", "note", NULL};
    const char *format;
    int64_t version;
    json_t *edits;
    if (!json_is_object(root))
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected an object", f->name);
    SG_TRY(sg_json_get_string(root, f->name, "format", true, &format, err));
    if (strcmp(format, "sgatlin edits") != 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: format: found \"%.100s\", expected \"sgatlin edits\"", f->name, format);
    SG_TRY(sg_json_get_int(root, f->name, "version", true, 1, 1, &version, err));
    SG_TRY(file_members(root, f->name, known, err));
    SG_TRY(sg_json_get_array(root, f->name, "edits", true, &edits, err));
    for (size_t i = 0; i < json_array_size(edits); i++)
        SG_TRY(file_entry(f, json_array_get(edits, i), i, err));
    return SG_OK;
}

sg_status sg_edit_file_parse(const sg_model *model, const void *data, size_t bytes,
                             const char *name, sg_edit **list, size_t *count, sg_error *err)
{
    edit_file f = {.model = model, .name = name};
    json_t *root;
    *list = NULL;
    *count = 0;
    SG_TRY(sg_json_parse(data, bytes, name, &root, err));
    sg_status status = file_read(&f, root, err);
    json_decref(root);
    if (status != SG_OK) {
        sg_free(f.list);
        return status;
    }
    *list = f.list;
    *count = f.count;
    return SG_OK;
}
