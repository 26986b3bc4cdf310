// The head of a CSV file of runs: JSON behind "# ", read with the lines and columns of the file.
#include "sweep/runs_csv_head.h"

#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sweep/results.h"
#include "sweep/runs_csv.h"

static sg_status head_text(const json_t *head, const sg_csv_in *in, const char *key, char *to,
                           size_t room, sg_error *err)
{
    const char *text = "";
    SG_TRY(sg_json_get_string(head, in->name, key, true, &text, err));
    if (strlen(text) >= room)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found %zu bytes, expected at most %zu",
                       in->name, key, strlen(text), room - 1);
    memcpy(to, text, strlen(text) + 1);
    return SG_OK;
}

static sg_status head_machine(const json_t *object, const sg_csv_in *in, sg_sweep_machine *m,
                              sg_error *err)
{
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: machines: found no object, expected one of each",
                       in->name);
    SG_TRY(head_text(object, in, "processor", m->processor, sizeof m->processor, err));
    SG_TRY(head_text(object, in, "kernels", m->kernels, sizeof m->kernels, err));
    SG_TRY(head_text(object, in, "library", m->library, sizeof m->library, err));
    SG_TRY(head_text(object, in, "program", m->program, sizeof m->program, err));
    SG_TRY(sg_json_get_int(object, in->name, "cores", true, 0, INT32_MAX, &m->cores, err));
    SG_TRY(sg_json_get_int(object, in->name, "threads", true, 0, INT32_MAX, &m->threads, err));
    return sg_json_get_int(object, in->name, "jobs", true, 0, INT32_MAX, &m->jobs, err);
}

static sg_status head_machines(const json_t *head, const sg_csv_in *in, sg_sweep_results *r,
                               sg_error *err)
{
    json_t *machines;
    SG_TRY(sg_json_get_array(head, in->name, "machines", true, &machines, err));
    const size_t count = json_array_size(machines);
    if (count > SG_SWEEP_ROWS_MAX)
        return sg_fail(err, SG_ERR_FORMAT, "%s: machines: found %zu, expected at most %d", in->name,
                       count, SG_SWEEP_ROWS_MAX);
    r->machines = sg_alloc_zero(count, sizeof *r->machines);
    if (r->machines == NULL) return sg_csv_memory(in, err);
    for (; r->machine_count < count; r->machine_count++)
        SG_TRY(head_machine(json_array_get(machines, r->machine_count), in,
                            &r->machines[r->machine_count], err));
    return SG_OK;
}

static sg_status head_file(const json_t *head, const sg_csv_in *in, sg_sweep_results *r,
                           sg_error *err)
{
    json_t *lines;
    sg_bytes file = {0};
    SG_TRY(sg_json_get_array(head, in->name, "file", true, &lines, err));
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (!json_is_string(line) || strlen(json_string_value(line)) != json_string_length(line)) {
            sg_free(file.data);
            return sg_fail(err, SG_ERR_FORMAT, "%s: file[%zu]: found no text, expected a line",
                           in->name, i);
        }
        if ((i > 0 && !sg_bytes_add(&file, "\n", 1)) ||
            !sg_bytes_add(&file, json_string_value(line), json_string_length(line))) {
            sg_free(file.data);
            return sg_csv_memory(in, err);
        }
    }
    r->file = sg_strndup(file.data != NULL ? file.data : "", file.count);
    sg_free(file.data);
    return r->file != NULL ? SG_OK : sg_csv_memory(in, err);
}

static sg_status head_parse(const json_t *head, const sg_csv_in *in, sg_sweep_results *r,
                            int64_t *runs, sg_error *err)
{
    if (!json_is_object(head))
        return sg_fail(err, SG_ERR_FORMAT, "%s: line 2: found no JSON object behind \"# \"",
                       in->name);
    SG_TRY(head_text(head, in, "name", r->name, sizeof r->name, err));
    SG_TRY(head_text(head, in, "note", r->note, sizeof r->note, err));
    SG_TRY(head_text(head, in, "data_hash", r->data_hash, sizeof r->data_hash, err));
    SG_TRY(head_text(head, in, "data_path", r->data_path, sizeof r->data_path, err));
    SG_TRY(head_text(head, in, "command", r->command, sizeof r->command, err));
    SG_TRY(sg_json_get_int(head, in->name, "vocab_size", true, 0, INT32_MAX, &r->vocab_size, err));
    SG_TRY(sg_json_get_int(head, in->name, "seq_len", true, 0, INT32_MAX, &r->seq_len, err));
    SG_TRY(sg_json_get_int(head, in->name, "val_tokens", true, 0, INT64_MAX, &r->val_tokens, err));
    SG_TRY(sg_json_get_int(head, in->name, "runs", true, 0, SG_SWEEP_ROWS_MAX, runs, err));
    SG_TRY(head_machines(head, in, r, err));
    return head_file(head, in, r, err);
}

// The lines of the head, with blanks in the place of what makes them comments: what is wrong in the
// JSON is then told by the lines and columns of the file.
sg_status sg_sweep_csv_head(sg_csv_in *in, sg_sweep_results *r, int64_t *runs, sg_error *err)
{
    const size_t first = strlen(sg_sweep_csv_first_line);
    const char *from = in->at;
    if ((size_t)(in->end - in->at) < first || memcmp(in->at, sg_sweep_csv_first_line, first) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: line 1: expected \"%s\"", in->name,
                       sg_sweep_csv_first_line);
    while (in->at < in->end && *in->at == '#') {
        const char *end = memchr(in->at, '\n', (size_t)(in->end - in->at));
        in->at = end != NULL ? end + 1 : in->end;
        in->line++;
    }
    const size_t bytes = (size_t)(in->at - from);
    char *text = sg_strndup(from, bytes);
    if (text == NULL) return sg_csv_memory(in, err);
    memset(text, ' ', first);
    for (size_t i = first; i < bytes; i++)
        if (text[i] == '#' && text[i - 1] == '\n') text[i] = ' ';
    json_t *head = NULL;
    sg_status status = sg_json_parse(text, bytes, in->name, &head, err);
    if (status == SG_OK) status = head_parse(head, in, r, runs, err);
    json_decref(head);
    sg_free(text);
    return status;
}
