// Any bytes as a record of gates: whatever opens is read through, and answers or says what is
// wrong.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "probe/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(sg_status status, const sg_error *err)
{
    if (status != SG_OK && err->message[0] == '\0') abort();
}

static void read_channel(sg_record *record, const sg_record_channel *c)
{
    sg_error err = {0};
    sg_gate_rows gates;
    sg_record_hit *hits, some[4];
    int64_t count;
    const int64_t neurons = sg_record_find_layer(record, c->layer)->neurons;
    sg_status status = sg_record_gates(record, c->layer, c->channel, 1000, &gates, &err);
    check(status, &err);
    for (int64_t r = 0; status == SG_OK && r < gates.rows; r++)
        for (int64_t i = gates.begins[r]; i < gates.begins[r + 1]; i++)
            if (gates.neurons[i] < 0 || gates.neurons[i] >= gates.columns) abort();
    if (status == SG_OK) sg_gate_rows_free(&gates);
    for (int64_t n = 0; n < 3 && n < neurons; n++) {
        status = sg_record_neuron_hits(record, c->layer, c->channel, n, &hits, &count, &err);
        check(status, &err);
        if (status == SG_OK) sg_buffer_free(hits);
    }
    check(sg_record_token_hits(record, c->layer, c->channel, 1, 4, some, &count, &err), &err);
    if (neurons > 1 << 16) return;
    sg_record_neuron *sums = sg_alloc_array((size_t)neurons, sizeof *sums);
    if (sums == NULL) return;
    check(sg_record_neurons(record, c->layer, c->channel, sums, &err), &err);
    sg_free(sums);
}

static void read_record(sg_record *record)
{
    const sg_record_info *info = sg_record_get_info(record);
    sg_record_token tokens[64];
    sg_scored_token next[SG_LOGPROBS_MAX];
    sg_record_excerpt excerpt;
    sg_error err = {0};
    int64_t count;
    sg_status status = sg_record_tokens(record, 0, 64, tokens, &count, &err);
    check(status, &err);
    for (int64_t i = 0; status == SG_OK && i < count && i < 4; i++) {
        size_t bytes;
        sg_record_text(record, tokens[i].token, &bytes);
        check(sg_record_predictions(record, tokens[i].id, SG_LOGPROBS_MAX, next, &count, &err),
              &err);
        if (sg_record_excerpt_of(record, tokens[i].id, 3, 3, &excerpt, &err) == SG_OK)
            sg_record_excerpt_clear(&excerpt);
    }
    for (size_t c = 0; c < info->channel_count && c < 4; c++)
        read_channel(record, &info->channels[c]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    sg_error err = {0};
    sg_record *record;
    if (path[0] == '\0') snprintf(path, sizeof path, "/tmp/sg_fuzz_records_%ld.db", (long)getpid());
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, data, size) != (ssize_t)size || close(file) != 0) abort();
    const sg_status status = sg_record_open(path, &record, &err);
    check(status, &err);
    if (status == SG_OK) read_record(record);
    if (status == SG_OK) sg_record_free(record);
    unlink(path);
    return 0;
}
