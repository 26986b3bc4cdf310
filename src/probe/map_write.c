// Maps as files: a table (CSV), a drawing (SVG), or parameters and columns (JSON). Texts of tokens
// are bytes of anything: bytes that are no UTF-8 become U+FFFD and a NUL a space; in a drawing
// control characters become spaces too.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "format/json.h"
#include "sgatlin_gates.h"

enum { map_width = 900, map_height = 640, map_plot = 620, map_colours = 8 };

// Okabe and Ito's, which stay apart for most eyes.
static const char *const map_colour_names[map_colours] = {
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442"};
static const char map_grey[] = "#c8c8c8";

static sg_status map_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a map");
}

// The text of a token as UTF-8; "" where there is none. sg_free; NULL: out of memory.
static char *map_text(const sg_umap_notes *notes, int32_t id)
{
    size_t bytes = 0;
    sg_bytes text = {0};
    const char *found =
        id < 0 || notes->record == NULL ? "" : sg_record_text(notes->record, id, &bytes);
    if (!sg_utf8_repair(found, bytes, &text, NULL) || !sg_bytes_add(&text, "", 1)) {
        sg_free(text.data);
        return NULL;
    }
    for (size_t i = 0; i + 1 < text.count; i++)
        if (text.data[i] == '\0') text.data[i] = ' ';
    return text.data;
}

static sg_status map_check(const sg_umap *map, const sg_umap_notes *notes, sg_error *err)
{
    if (notes->patterns == NULL || notes->patterns->vectors.rows == map->rows) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH, "map: found %lld rows, expected the %lld of the patterns",
                   (long long)map->rows, (long long)notes->patterns->vectors.rows);
}

// ---- CSV ----------------------------------------------------------------------------------------

static void csv_put(sg_writer *w, const char *text)
{
    sg_writer_put(w, "\"", 1);
    for (const char *c = text; *c != '\0'; c++)
        sg_writer_put(w, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    sg_writer_put(w, "\"", 1);
}

static sg_status csv_row(sg_writer *w, const sg_umap *map, const sg_umap_notes *notes, int64_t row,
                         sg_error *err)
{
    const sg_patterns *p = notes->patterns;
    const float *at = map->positions + row * map->components;
    sg_writer_printf(w, "%lld", (long long)(p != NULL ? p->tokens[row] : row));
    for (int64_t d = 0; d < map->components; d++)
        sg_writer_printf(w, ",%.9g", (double)at[d]);
    if (p != NULL) {
        char *input = map_text(notes, p->inputs[row]), *next = map_text(notes, p->nexts[row]);
        const bool got = input != NULL && next != NULL;
        sg_writer_printf(w, ",%lld,%lld,", (long long)p->sequences[row],
                         (long long)p->positions[row]);
        if (got) csv_put(w, input);
        sg_writer_put(w, ",", 1);
        if (got) csv_put(w, next);
        sg_free(input);
        sg_free(next);
        if (!got) return map_memory(err);
    }
    sg_writer_put(w, "\n", 1);
    return SG_OK;
}

static sg_status map_csv(sg_writer *w, const sg_umap *map, const sg_umap_notes *notes,
                         sg_error *err)
{
    sg_status status = SG_OK;
    sg_writer_printf(w, "%s,x,y%s%s\n", notes->patterns != NULL ? "token" : "row",
                     map->components == 3 ? ",z" : "",
                     notes->patterns != NULL ? ",sequence,position,input,next" : "");
    for (int64_t r = 0; status == SG_OK && r < map->rows; r++)
        status = csv_row(w, map, notes, r, err);
    return status;
}

// ---- JSON ---------------------------------------------------------------------------------------

static json_t *map_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

// NULL: out of memory.
static json_t *map_whole_column(const int64_t *wide, const int32_t *narrow, int64_t rows)
{
    json_t *column = json_array();
    for (int64_t r = 0; r < rows; r++)
        if (json_array_append_new(column, json_integer(wide != NULL ? wide[r] : narrow[r])) != 0) {
            json_decref(column);
            return NULL;
        }
    return column;
}

static json_t *map_texts(const sg_umap_notes *notes, const int32_t *ids, int64_t rows)
{
    json_t *column = json_array();
    for (int64_t r = 0; r < rows; r++) {
        char *text = map_text(notes, ids[r]);
        const int failed =
            text == NULL ||
            json_array_append_new(column, ids[r] < 0 ? json_null() : json_string(text)) != 0;
        sg_free(text);
        if (failed) {
            json_decref(column);
            return NULL;
        }
    }
    return column;
}

static json_t *map_parameters(const sg_umap *map, const sg_umap_notes *notes)
{
    const sg_umap_options *o = notes->options;
    return json_pack("{s:I, s:f, s:f, s:I, s:I, s:f, s:s, s:I, s:I, s:f, s:f}", "neighbors",
                     (json_int_t)map->neighbours, "min_dist", o->min_dist, "spread", o->spread,
                     "epochs", (json_int_t)map->epochs, "negative_samples",
                     (json_int_t)o->negative_samples, "rate", o->rate, "metric",
                     sg_metric_name(o->metric), "components", (json_int_t)map->components, "seed",
                     (json_int_t)o->seed, "a", map->a, "b", map->b);
}

static json_t *map_head(const sg_umap *map, const sg_umap_notes *notes)
{
    return json_pack(
        "{s:s, s:s*, s:s*, s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I}", "format",
        "sgatlin map", "source", notes->source, "command", notes->command, "version", sg_version(),
        "rows", (json_int_t)map->rows, "parameters", map_parameters(map, notes), "edges",
        (json_int_t)map->edges, "parts", (json_int_t)map->parts, "parts_drawn",
        (json_int_t)map->parts_drawn, "zeros", (json_int_t)map->zeros, "duplicates",
        (json_int_t)map->duplicates, "trustworthiness", map_number(map->trustworthiness),
        "neighbor_overlap", map_number(map->overlap), "quality_neighbors",
        (json_int_t)map->quality_neighbours, "quality_rows", (json_int_t)map->quality_rows);
}

// Adds a column, which is given up; false: out of memory.
static bool map_add(json_t *root, const char *name, json_t *column)
{
    return json_object_set_new(root, name, column) == 0;
}

// "x":[…] and so on behind a text that ends in }, which moves to the end. Written here, in as many
// digits as the floats have; jansson would print seventeen.
static bool map_add_axes(const sg_umap *map, sg_bytes *text)
{
    char number[40];
    bool got = true;
    text->count--;
    for (int64_t d = 0; d < map->components; d++)
        for (int64_t r = 0; r < map->rows && got; r++) {
            const double at = (double)map->positions[r * map->components + d];
            const int bytes = r == 0
                                  ? snprintf(number, sizeof number, ",\"%c\":[%.7g", "xyz"[d], at)
                                  : snprintf(number, sizeof number, ",%.7g", at);
            got = sg_bytes_add(text, number, (size_t)bytes) &&
                  (r + 1 < map->rows || sg_bytes_add(text, "]", 1));
        }
    return got && sg_bytes_add(text, "}", 2); // with a NUL
}

sg_status sg_umap_json(const sg_umap *map, const sg_umap_notes *notes, char **text, sg_error *err)
{
    const sg_patterns *p = notes->patterns;
    char *head = NULL;
    SG_TRY(map_check(map, notes, err));
    sg_json_setup();
    json_t *root = map_head(map, notes);
    bool got = root != NULL;
    if (got && p != NULL)
        got = map_add(root, "layer", json_integer(p->layer)) &&
              map_add(root, "channel", json_integer(p->channel)) &&
              map_add(root, "tokens", map_whole_column(p->tokens, NULL, map->rows)) &&
              map_add(root, "sequences", map_whole_column(p->sequences, NULL, map->rows)) &&
              map_add(root, "positions", map_whole_column(p->positions, NULL, map->rows)) &&
              map_add(root, "input_ids", map_whole_column(NULL, p->inputs, map->rows)) &&
              map_add(root, "next_ids", map_whole_column(NULL, p->nexts, map->rows)) &&
              map_add(root, "inputs", map_texts(notes, p->inputs, map->rows)) &&
              map_add(root, "nexts", map_texts(notes, p->nexts, map->rows));
    sg_status status = got ? sg_json_text(root, false, &head, err) : map_memory(err);
    json_decref(root);
    if (status != SG_OK) return status;
    sg_bytes whole = {0};
    got = sg_bytes_add(&whole, head, strlen(head)) && map_add_axes(map, &whole);
    sg_free(head);
    *text = whole.data;
    if (got) return SG_OK;
    sg_free(whole.data);
    return map_memory(err);
}

// ---- SVG ----------------------------------------------------------------------------------------

typedef struct map_token {
    int32_t id;
    int64_t count;
} map_token;

static int map_by_id(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// The most frequent of the tokens that rows are coloured by; those that are not known count not.
static sg_status map_most(const int32_t *ids, int64_t rows, map_token most[map_colours],
                          sg_error *err)
{
    int32_t *sorted = sg_alloc_array((size_t)rows, sizeof *sorted);
    if (sorted == NULL) return map_memory(err);
    memcpy(sorted, ids, (size_t)rows * sizeof *sorted);
    qsort(sorted, (size_t)rows, sizeof *sorted, map_by_id);
    for (int k = 0; k < map_colours; k++)
        most[k] = (map_token){-1, 0};
    for (int64_t first = 0, end; first < rows; first = end) {
        for (end = first; end < rows && sorted[end] == sorted[first];)
            end++;
        map_token token = {sorted[first], end - first};
        for (int k = 0; k < map_colours && token.id >= 0; k++) {
            if (token.count <= most[k].count) continue;
            const map_token other = most[k];
            most[k] = token;
            token = other;
        }
    }
    sg_free(sorted);
    return SG_OK;
}

static void map_put_text(sg_writer *w, const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c == '<' || *c == '>' || *c == '&' || *c == '"')
            sg_writer_printf(w, "&#%d;", *c);
        else if ((unsigned char)*c == ' ')
            sg_writer_printf(w, "&#160;");
        else
            sg_writer_put(w, (unsigned char)*c < ' ' ? " " : c, 1);
}

static sg_status map_legend(sg_writer *w, const sg_umap_notes *notes,
                            const map_token most[map_colours], sg_error *err)
{
    int y = 60;
    sg_writer_printf(w, "<text x=\"680\" y=\"36\">%s</text>\n",
                     notes->colour_next ? "next token" : "token");
    for (int k = 0; k < map_colours && most[k].count > 0; k++, y += 22) {
        char *text = map_text(notes, most[k].id);
        if (text == NULL) return map_memory(err);
        sg_writer_printf(w,
                         "<circle cx=\"686\" cy=\"%d\" r=\"5\" fill=\"%s\"/>"
                         "<text x=\"698\" y=\"%d\">\"",
                         y - 4, map_colour_names[k], y);
        map_put_text(w, text);
        sg_writer_printf(w, "\" (%lld)</text>\n", (long long)most[k].count);
        sg_free(text);
    }
    sg_writer_printf(w,
                     "<circle cx=\"686\" cy=\"%d\" r=\"5\" fill=\"%s\"/><text x=\"698\" "
                     "y=\"%d\">others</text>\n",
                     y - 4, map_grey, y);
    return SG_OK;
}

static void map_points(sg_writer *w, const sg_umap *map, const int32_t *ids,
                       const map_token most[map_colours])
{
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int64_t r = 0; r < map->rows; r++)
        for (int d = 0; d < 2; d++) {
            low[d] = fmin(low[d], (double)map->positions[r * map->components + d]);
            high[d] = fmax(high[d], (double)map->positions[r * map->components + d]);
        }
    const double radius = map->rows > 5000 ? 1.2 : map->rows > 500 ? 2 : 3.5;
    // Grey ones first, so that they cover nothing.
    for (int k = map_colours; k >= 0; k--) {
        sg_writer_printf(w, "<g fill=\"%s\">\n", k < map_colours ? map_colour_names[k] : map_grey);
        for (int64_t r = 0; r < map->rows; r++) {
            int colour = map_colours;
            for (int c = 0; c < map_colours && ids != NULL; c++)
                if (most[c].count > 0 && most[c].id == ids[r]) colour = c;
            if (colour != k) continue;
            double at[2];
            for (int d = 0; d < 2; d++) {
                const double place = (double)map->positions[r * map->components + d];
                at[d] = high[d] > low[d] ? (place - low[d]) / (high[d] - low[d]) : 0.5;
            }
            sg_writer_printf(w, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n",
                             20 + at[0] * map_plot, 10 + (1 - at[1]) * map_plot, radius);
        }
        sg_writer_printf(w, "</g>\n");
    }
}

static sg_status map_svg(sg_writer *w, const sg_umap *map, const sg_umap_notes *notes,
                         sg_error *err)
{
    const sg_patterns *p = notes->patterns;
    const int32_t *ids = p == NULL ? NULL : notes->colour_next ? p->nexts : p->inputs;
    map_token most[map_colours] = {{0}};
    if (ids != NULL) SG_TRY(map_most(ids, map->rows, most, err));
    sg_writer_printf(w,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                     "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\">\n"
                     "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                     map_width, map_height, map_width, map_height);
    map_points(w, map, ids, most);
    if (ids != NULL) SG_TRY(map_legend(w, notes, most, err));
    if (p != NULL)
        sg_writer_printf(w, "<text x=\"680\" y=\"560\">layer %lld, channel %lld</text>\n",
                         (long long)p->layer, (long long)p->channel);
    sg_writer_printf(w, "<text x=\"680\" y=\"580\">%lld rows</text>\n", (long long)map->rows);
    if (isfinite(map->trustworthiness))
        sg_writer_printf(w, "<text x=\"680\" y=\"600\">trustworthiness %.3f, overlap %.3f</text>\n",
                         map->trustworthiness, map->overlap);
    sg_writer_printf(w, "</svg>\n");
    return SG_OK;
}

// ---- which --------------------------------------------------------------------------------------

static bool map_ends(const char *path, const char *ending)
{
    const size_t length = strlen(path), end = strlen(ending);
    return length > end && strcmp(path + length - end, ending) == 0;
}

static sg_status map_json(sg_writer *w, const sg_umap *map, const sg_umap_notes *notes,
                          sg_error *err)
{
    char *text = NULL;
    SG_TRY(sg_umap_json(map, notes, &text, err));
    sg_writer_put(w, text, strlen(text));
    sg_writer_put(w, "\n", 1);
    sg_free(text);
    return SG_OK;
}

sg_status sg_umap_write_check(const char *path, bool force, sg_error *err)
{
    if (!map_ends(path, ".csv") && !map_ends(path, ".json") && !map_ends(path, ".svg"))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: expected a name that ends in .csv, .json or .svg",
                       path);
    return sg_output_check(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err);
}

sg_status sg_umap_write(const sg_umap *map, const sg_umap_notes *notes, const char *path,
                        bool force, sg_error *err)
{
    sg_writer *writer;
    SG_TRY(map_check(map, notes, err));
    SG_TRY(sg_umap_write_check(path, force, err));
    SG_TRY(sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &writer, err));
    sg_status status = map_ends(path, ".csv")    ? map_csv(writer, map, notes, err)
                       : map_ends(path, ".json") ? map_json(writer, map, notes, err)
                                                 : map_svg(writer, map, notes, err);
    if (status == SG_OK) return sg_writer_replace(writer, err);
    sg_writer_withdraw(writer);
    return status;
}
