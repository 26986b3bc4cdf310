// Opening the folder of a sweep. The file that it was begun with is in its database, whole.
#include "sweep/sweep_folder.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/json.h"
#include "probe/facts.h"
#include "sweep/results.h"
#include "sweep/spec.h"
#include "train/run_settings.h"

enum { folder_file_limit = 16 << 20 };

void sg_sweep_folder_close(sg_sweep_folder *f)
{
    sg_sweep_store_free(f->store);
    sg_sweep_spec_clear(&f->spec);
    sg_free(f->file);
    *f = (sg_sweep_folder){0};
}

// ---- the file and the data ----------------------------------------------------------------------

static sg_status folder_file(const sg_sweep_options *o, sg_sweep_folder *f, sg_error *err)
{
    size_t bytes;
    if (o->text == NULL)
        SG_TRY(sg_file_read(o->file, folder_file_limit, &f->file, &bytes, err));
    else if ((f->file = sg_strdup(o->text)) == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a sweep file");
    else
        bytes = strlen(f->file);
    return sg_sweep_spec_parse(f->file, bytes, o->text != NULL ? "sweep.json" : o->file, o->data,
                               &f->spec, err);
}

sg_status sg_sweep_data_hash(const char *data, const char *facts, char hash[24], sg_error *err)
{
    int64_t bytes;
    uint64_t of_facts;
    sg_run_settings *settings = sg_alloc_zero(1, sizeof *settings);
    if (settings == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a sweep");
    sg_status status = sg_run_settings_set_data(settings, data, err);
    if (status == SG_OK) status = sg_run_settings_hash_data(settings, err);
    if (status == SG_OK) memcpy(hash, settings->data_hash, sizeof settings->data_hash);
    sg_free(settings);
    SG_TRY(status);
    if (facts[0] == '\0') return SG_OK;
    SG_TRY(sg_file_hash(facts, &bytes, &of_facts, err));
    char both[64];
    snprintf(both, sizeof both, "%.23s %016llx", hash, (unsigned long long)of_facts);
    snprintf(hash, 24, "%016llx", (unsigned long long)sg_hash(both, strlen(both)));
    return SG_OK;
}

static sg_status folder_data(sg_sweep_folder *f, const sg_data_info *info, sg_error *err)
{
    f->vocab_size = info->vocab_size;
    f->seq_len = info->seq_len;
    f->val_tokens = info->split[SG_SPLIT_VAL].tokens;
    SG_TRY(sg_sweep_data_hash(f->data, f->spec.facts, f->data_hash, err));
    if (info->split[SG_SPLIT_VAL].rows > 0) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH,
                   "%s: the validation split is empty, and it is what runs are compared on: pack "
                   "with --val-fraction",
                   f->data);
}

// Runs read the facts when they are trained: what is wrong with them is said before.
static sg_status folder_facts(const sg_sweep_folder *f, sg_error *err)
{
    sg_facts *facts;
    if (f->spec.facts[0] == '\0') return SG_OK;
    SG_TRY(sg_facts_read(f->spec.facts, &facts, err));
    sg_facts_free(facts);
    return SG_OK;
}

sg_status sg_sweep_folder_look(const sg_sweep_options *o, sg_sweep_folder *f, sg_error *err)
{
    sg_data *data;
    *f = (sg_sweep_folder){0};
    SG_TRY(folder_file(o, f, err));
    if (f->spec.data[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT, "data: the sweep file names none: give it (--data)");
    if (strlen(f->spec.data) >= sizeof f->data || strlen(o->folder) >= sizeof f->path)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", f->spec.data);
    snprintf(f->data, sizeof f->data, "%s", f->spec.data);
    snprintf(f->path, sizeof f->path, "%s", o->folder);
    SG_TRY(folder_facts(f, err));
    SG_TRY(sg_data_open(f->data, SG_VERIFY_AUTO, &data, err));
    const sg_status status = folder_data(f, sg_data_get_info(data), err);
    sg_data_free(data);
    return status;
}

// ---- what was there -----------------------------------------------------------------------------

// Whether what runs are made of says the same in both files: all but words, what is added to lists
// that make cells, and seeds.
static const char *folder_difference(const json_t *a, const json_t *b)
{
    static const char *const free_to_change[] = {"name", "note",  "axes",         "groups",
                                                 "data", "seeds", "scale_ladder", "max_epochs"};
    const json_t *const both[] = {a, b};
    for (int i = 0; i < 2; i++)
        for (void *at = json_object_iter((json_t *)(uintptr_t)both[i]); at != NULL;
             at = json_object_iter_next((json_t *)(uintptr_t)both[i], at)) {
            const char *key = json_object_iter_key(at);
            bool skip = false;
            for (size_t k = 0; k < sizeof free_to_change / sizeof free_to_change[0]; k++)
                skip |= strcmp(key, free_to_change[k]) == 0;
            const json_t *other = json_object_get(both[1 - i], key);
            if (!skip && (other == NULL || !json_equal(json_object_iter_value(at), other)))
                return key;
        }
    return NULL;
}

static bool folder_same_cell(const sg_sweep_cell *a, const sg_sweep_cell *b)
{
    return strcmp(a->family, b->family) == 0 && sg_sweep_same_number(a->scale, b->scale) &&
           sg_sweep_same_number(a->budget, b->budget) && strcmp(a->settings, b->settings) == 0 &&
           json_equal(a->options, b->options);
}

// What of a file that may only add to the one before is not there any more; NULL: nothing.
static const char *folder_lost(const sg_sweep_spec *before, const sg_sweep_spec *now)
{
    const char *key = folder_difference(before->root, now->root);
    size_t at = 0;
    if (key != NULL) return key;
    if (before->seed_count > now->seed_count ||
        memcmp(before->seeds, now->seeds, before->seed_count * sizeof before->seeds[0]) != 0)
        return "seeds";
    for (size_t i = 0; i < before->cell_count; i++, at++) {
        while (at < now->cell_count && !folder_same_cell(&before->cells[i], &now->cells[at]))
            at++;
        if (at == now->cell_count)
            return json_object_get(now->root, "groups") != NULL ? "groups" : "axes";
    }
    return NULL;
}

static sg_status folder_file_fits(const sg_sweep_folder *f, const sg_sweep_results *was,
                                  sg_error *err)
{
    sg_sweep_spec before;
    // The data are compared by their checksum.
    SG_TRY(
        sg_sweep_spec_parse(was->file, strlen(was->file), "sweep.db", f->spec.data, &before, err));
    const char *key = folder_lost(&before, &f->spec);
    sg_status status = SG_OK;
    if (key != NULL)
        status =
            sg_fail(err, SG_ERR_MISMATCH,
                    "%s: the sweep was begun with another file, in which \"%s\" differs; cells "
                    "and seeds can be added behind those it has: choose another folder (its "
                    "own file is %s/sweep.json)",
                    f->path, key, f->path);
    sg_sweep_spec_clear(&before);
    return status;
}

sg_status sg_sweep_folder_fits(const sg_sweep_folder *f, const sg_sweep_results *was, sg_error *err)
{
    if (strcmp(was->data_hash, f->data_hash) == 0) return folder_file_fits(f, was, err);
    return sg_fail(err, SG_ERR_MISMATCH,
                   "%s: the sweep was begun with data of checksum %s (%s), found %s (%s)%s",
                   f->path, was->data_hash, was->data_path, f->data_hash, f->data,
                   f->spec.facts[0] != '\0' ? ", its facts among them" : "");
}

static sg_sweep_about folder_about(const sg_sweep_folder *f, const char *command)
{
    return (sg_sweep_about){.name = f->spec.name,
                            .note = f->spec.note,
                            .data_hash = f->data_hash,
                            .data_path = f->data,
                            .file = f->file,
                            .command = command != NULL ? command : "",
                            .vocab_size = f->vocab_size,
                            .seq_len = f->seq_len,
                            .val_tokens = f->val_tokens};
}

static sg_status folder_write_file(const sg_sweep_folder *f, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, f->path, "sweep.json", err));
    return sg_file_write_atomic(path, f->file, strlen(f->file), err);
}

// Rows get the numbers that their cells have in the file that takes the place of the one before.
static sg_status folder_renumber(const sg_sweep_folder *f, sg_sweep_results *was, sg_error *err)
{
    for (size_t i = 0; i < was->count; i++) {
        sg_sweep_row *row = &was->rows[i];
        const int64_t before = row->cell;
        for (size_t c = 0; c < f->spec.cell_count; c++) {
            const sg_sweep_cell *cell = &f->spec.cells[c];
            if (strcmp(cell->family, row->family) == 0 &&
                sg_sweep_same_number(cell->scale, row->scale) &&
                sg_sweep_same_number(cell->budget, row->budget) &&
                strcmp(cell->settings, row->settings) == 0)
                row->cell = (int64_t)c;
        }
        if (row->cell != before) SG_TRY(sg_sweep_store_put(f->store, row, err));
    }
    return SG_OK;
}

// The file that only adds to the one before takes its place.
static sg_status folder_adopt(const sg_sweep_options *o, sg_sweep_folder *f, sg_sweep_results *was,
                              sg_error *err)
{
    const sg_sweep_about about = folder_about(f, o->command);
    if (strcmp(was->file, f->file) == 0) return SG_OK;
    SG_TRY(sg_sweep_store_begin(f->store, err));
    sg_status status = sg_sweep_store_about(f->store, &about, err);
    if (status == SG_OK) status = folder_renumber(f, was, err);
    if (status == SG_OK) status = sg_sweep_store_commit(f->store, err);
    if (status != SG_OK) sg_sweep_store_rollback(f->store);
    return status == SG_OK ? folder_write_file(f, err) : status;
}

sg_status sg_sweep_folder_open(const sg_sweep_options *o, sg_sweep_folder *f, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_sweep_results was;
    SG_TRY(sg_sweep_folder_look(o, f, err));
    SG_TRY(sg_path_join(path, sizeof path, f->path, "sweep.db", err));
    if (!sg_path_exists(path)) return SG_OK;
    SG_TRY(sg_sweep_store_open(f->path, &f->store, err));
    SG_TRY(sg_sweep_store_read(f->store, &was, err));
    sg_status status = sg_sweep_folder_fits(f, &was, err);
    if (status == SG_OK) status = folder_adopt(o, f, &was, err);
    sg_sweep_results_clear(&was);
    return status;
}

sg_status sg_sweep_folder_make(const sg_sweep_options *o, sg_sweep_folder *f, sg_error *err)
{
    const sg_sweep_about about = folder_about(f, o->command);
    if (f->store != NULL) return SG_OK;
    SG_TRY(sg_folder_make(f->path, err));
    SG_TRY(sg_sweep_store_create(f->path, &about, &f->store, err));
    return folder_write_file(f, err);
}
