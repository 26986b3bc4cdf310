// Filters of chat templates that go through lists.
#include <string.h>

#include "text/chat_filters.h"
#include "text/chat_strings.h"

#define FILTER(name)                                                                               \
    sg_status sg_chat_filter_##name(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)

// ---- keys -------------------------------------------------------------------------------------

static bool list_given(const sg_chat_value *v)
{
    return v->type != SG_CHAT_IS_ABSENT && v->type != SG_CHAT_IS_NONE;
}

// What an item is compared by: itself or an attribute, in lower case unless case matters.
static sg_status list_key(sg_chat_run *r, const sg_chat_value *item, const sg_chat_value *attribute,
                          const sg_chat_value *otherwise, bool cased, sg_chat_value *key)
{
    *key = *item;
    if (list_given(attribute)) SG_TRY(sg_chat_path(r, item, attribute, key));
    if (key->type == SG_CHAT_IS_UNDEFINED && list_given(otherwise)) *key = *otherwise;
    if (cased || key->type != SG_CHAT_IS_STRING) return SG_OK;
    return sg_chat_recase(r, key, SG_CHAT_LOWER, SG_CHAT_LOWER, key);
}

static sg_status list_keys(sg_chat_run *r, const sg_chat_value *items, size_t count,
                           const sg_chat_value *attribute, const sg_chat_value *otherwise,
                           bool cased, sg_chat_value **keys)
{
    SG_TRY(sg_chat_new_items(r, count, keys));
    for (size_t i = 0; i < count; i++)
        SG_TRY(list_key(r, &items[i], attribute, otherwise, cased, &(*keys)[i]));
    return SG_OK;
}

// Merges the runs [begin, middle) and [middle, end) of `from`, places of keys, into `to`. Equal
// ones stay in their order, backwards too.
static sg_status list_merge(sg_chat_run *r, const sg_chat_value *keys, bool back,
                            const size_t *from, size_t begin, size_t middle, size_t end, size_t *to)
{
    size_t a = begin, b = middle;
    for (size_t at = begin; at < end; at++) {
        int order = 0;
        if (a < middle && b < end) SG_TRY(sg_chat_order(r, &keys[from[b]], &keys[from[a]], &order));
        bool second = a == middle || (b < end && (back ? order == 1 : order == -1));
        to[at] = second ? from[b++] : from[a++];
    }
    return SG_OK;
}

// The places 0 … count-1 in the order of their keys.
static sg_status list_sorted(sg_chat_run *r, const sg_chat_value *keys, size_t count, bool back,
                             const size_t **places)
{
    void *first, *second;
    SG_TRY(sg_chat_memory(r, count * sizeof **places, &first));
    SG_TRY(sg_chat_memory(r, count * sizeof **places, &second));
    size_t *from = first, *to = second;
    for (size_t i = 0; i < count; i++)
        from[i] = i;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = middle + width < count ? middle + width : count;
            SG_TRY(list_merge(r, keys, back, from, begin, middle, end, to));
        }
        size_t *other = from;
        from = to;
        to = other;
    }
    *places = from;
    return SG_OK;
}

static sg_status list_placed(sg_chat_run *r, const sg_chat_value *items, size_t count,
                             const size_t *places, sg_chat_value *out)
{
    sg_chat_value *made;
    SG_TRY(sg_chat_new_items(r, count, &made));
    for (size_t i = 0; i < count; i++)
        made[i] = items[places[i]];
    *out = sg_chat_list(SG_CHAT_IS_LIST, made, count);
    return SG_OK;
}

// ---- order ------------------------------------------------------------------------------------

// sort(attribute="a,b") compares by several.
static sg_status list_sort_keys(sg_chat_run *r, const sg_chat_value *items, size_t count,
                                const sg_chat_value *attribute, bool cased, sg_chat_value **keys)
{
    sg_chat_value absent = {0}, comma = sg_chat_word(","), parts;
    bool several = attribute->type == SG_CHAT_IS_STRING &&
                   memchr(attribute->text, ',', attribute->count) != NULL;
    if (!several) return list_keys(r, items, count, attribute, &absent, cased, keys);
    SG_TRY(sg_chat_split(r, attribute, &comma, -1, false, &parts));
    SG_TRY(sg_chat_new_items(r, count, keys));
    for (size_t i = 0; i < count; i++) {
        sg_chat_value *key;
        SG_TRY(sg_chat_new_items(r, parts.count, &key));
        for (size_t p = 0; p < parts.count; p++)
            SG_TRY(list_key(r, &items[i], &parts.items[p], &absent, cased, &key[p]));
        (*keys)[i] = sg_chat_list(SG_CHAT_IS_LIST, key, parts.count);
    }
    return SG_OK;
}

FILTER(sort) // reverse case_sensitive attribute
{
    const sg_chat_value *items;
    sg_chat_value *keys;
    size_t count;
    const size_t *places;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(list_sort_keys(r, items, count, &v[3], sg_chat_truth(&v[2]), &keys));
    SG_TRY(list_sorted(r, keys, count, sg_chat_truth(&v[1]), &places));
    return list_placed(r, items, count, places, out);
}

FILTER(dictsort) // case_sensitive by reverse
{
    sg_chat_value pairs, absent = {0}, *keys, at = sg_chat_integer(0);
    const size_t *places;
    if (v[0].type != SG_CHAT_IS_MAP)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "dictsort of %s", sg_chat_type_name(&v[0]));
    bool by_value = sg_chat_is(&v[2], "value");
    if (!by_value && v[2].type != SG_CHAT_IS_ABSENT && !sg_chat_is(&v[2], "key"))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "dictsort by other than key or value");
    at.integer = by_value;
    SG_TRY(sg_chat_view_of(r, v[0].map, SG_CHAT_ITEMS, &pairs));
    SG_TRY(list_keys(r, pairs.items, pairs.count, &at, &absent, sg_chat_truth(&v[1]), &keys));
    SG_TRY(list_sorted(r, keys, pairs.count, sg_chat_truth(&v[3]), &places));
    return list_placed(r, pairs.items, pairs.count, places, out);
}

static sg_status list_extreme(sg_chat_run *r, const sg_chat_value *v, int wanted,
                              sg_chat_value *out)
{
    const sg_chat_value *items;
    sg_chat_value *keys, absent = {0};
    size_t count, best = 0;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(list_keys(r, items, count, &v[2], &absent, sg_chat_truth(&v[1]), &keys));
    *out = sg_chat_undefined(NULL, 0);
    for (size_t i = 1; i < count; i++) {
        int order;
        SG_TRY(sg_chat_order(r, &keys[i], &keys[best], &order));
        if (order == wanted) best = i;
    }
    if (count > 0) *out = items[best];
    return SG_OK;
}

FILTER(max) // case_sensitive attribute
{
    return list_extreme(r, v, 1, out);
}

FILTER(min)
{
    return list_extreme(r, v, -1, out);
}

FILTER(unique) // case_sensitive attribute
{
    const sg_chat_value *items;
    sg_chat_value *keys, absent = {0}, *kept;
    size_t count, made = 0;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(list_keys(r, items, count, &v[2], &absent, sg_chat_truth(&v[1]), &keys));
    SG_TRY(sg_chat_new_items(r, count, &kept));
    for (size_t i = 0; i < count; i++) {
        bool seen = false;
        for (size_t k = 0; k < made && !seen; k++)
            SG_TRY(sg_chat_equal(r, &keys[i], &keys[k], &seen));
        if (seen) continue;
        keys[made] = keys[i];
        kept[made++] = items[i];
    }
    return sg_chat_iterator_of(r, kept, made, out);
}

// One group: (grouper, list), whose parts have these names too.
static sg_status list_group(sg_chat_run *r, const sg_chat_value *grouper,
                            const sg_chat_value *items, size_t count, sg_chat_value *out)
{
    sg_chat_value *pair;
    SG_TRY(sg_chat_new_items(r, 2, &pair));
    pair[0] = *grouper;
    pair[1] = sg_chat_list(SG_CHAT_IS_LIST, items, count);
    *out = sg_chat_list(SG_CHAT_IS_TUPLE, pair, 2);
    out->view = 1;
    return SG_OK;
}

FILTER(groupby) // attribute default case_sensitive
{
    const sg_chat_value *items;
    sg_chat_value *keys, sorted, *groups, grouper;
    size_t count, made = 0, begin = 0;
    const size_t *places;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(list_keys(r, items, count, &v[1], &v[2], sg_chat_truth(&v[3]), &keys));
    SG_TRY(list_sorted(r, keys, count, false, &places));
    SG_TRY(list_placed(r, items, count, places, &sorted));
    SG_TRY(sg_chat_new_items(r, count, &groups));
    for (size_t i = 0; i < count; i++) {
        bool same = false;
        if (i + 1 < count) SG_TRY(sg_chat_equal(r, &keys[places[i]], &keys[places[i + 1]], &same));
        if (same) continue;
        SG_TRY(list_key(r, &sorted.items[begin], &v[1], &v[2], true, &grouper));
        SG_TRY(list_group(r, &grouper, sorted.items + begin, i + 1 - begin, &groups[made++]));
        begin = i + 1;
    }
    *out = sg_chat_list(SG_CHAT_IS_LIST, groups, made);
    return SG_OK;
}

FILTER(reverse)
{
    const sg_chat_value *items;
    sg_chat_value *made;
    size_t count;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(sg_chat_new_items(r, count, &made));
    for (size_t i = 0; i < count; i++)
        made[i] = items[count - 1 - i];
    if (v[0].type == SG_CHAT_IS_STRING) {
        sg_chat_value nothing = sg_chat_string("", 0);
        return sg_chat_joined(r, &nothing, made, count, true, out);
    }
    if (v[0].type != SG_CHAT_IS_ITERATOR) return sg_chat_iterator_of(r, made, count, out);
    *out = sg_chat_list(SG_CHAT_IS_LIST, made, count);
    return SG_OK;
}

// ---- parts ------------------------------------------------------------------------------------

FILTER(first)
{
    const sg_chat_value *items;
    size_t count;
    *out = sg_chat_undefined(NULL, 0);
    if (v[0].type == SG_CHAT_IS_ITERATOR) {
        sg_chat_iterator *iterator = v[0].iterator;
        if (iterator->at < iterator->count) *out = iterator->items[iterator->at++];
        return SG_OK;
    }
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    if (count > 0) *out = items[0];
    return SG_OK;
}

FILTER(last)
{
    const sg_chat_value *items;
    size_t count;
    if (v[0].type == SG_CHAT_IS_ITERATOR || v[0].type == SG_CHAT_IS_UNDEFINED)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the last of %s", sg_chat_type_name(&v[0]));
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    *out = count > 0 ? items[count - 1] : sg_chat_undefined(NULL, 0);
    return SG_OK;
}

FILTER(length)
{
    size_t count;
    SG_TRY(sg_chat_length(r, &v[0], &count));
    *out = sg_chat_integer((int64_t)count);
    return SG_OK;
}

FILTER(list)
{
    const sg_chat_value *items;
    size_t count;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    *out = sg_chat_list(SG_CHAT_IS_LIST, items, count);
    return SG_OK;
}

FILTER(items)
{
    sg_chat_value view = {0};
    if (v[0].type != SG_CHAT_IS_MAP && v[0].type != SG_CHAT_IS_UNDEFINED)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the items of %s", sg_chat_type_name(&v[0]));
    if (v[0].type == SG_CHAT_IS_MAP) SG_TRY(sg_chat_view_of(r, v[0].map, SG_CHAT_ITEMS, &view));
    return sg_chat_iterator_of(r, view.items, view.count, out);
}

// Fills a list that is being cut up to `wanted`.
static sg_status list_filled(sg_chat_run *r, const sg_chat_value *items, size_t count,
                             const sg_chat_value *filler, size_t wanted, sg_chat_value *out)
{
    sg_chat_value *made;
    size_t most = list_given(filler) && wanted > count ? wanted : count;
    SG_TRY(sg_chat_new_items(r, most, &made));
    for (size_t i = 0; i < most; i++)
        made[i] = i < count ? items[i] : *filler;
    *out = sg_chat_list(SG_CHAT_IS_LIST, made, most);
    return SG_OK;
}

FILTER(batch) // linecount fill_with
{
    const sg_chat_value *items;
    sg_chat_value *lines;
    size_t count, made = 0;
    int64_t width;
    SG_TRY(sg_chat_whole(r, &v[1], 0, &width));
    if (width < 1) return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "batch of less than one");
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(sg_chat_new_items(r, count / (size_t)width + 1, &lines));
    for (size_t at = 0; at < count;) {
        size_t left = count - at, length = left < (size_t)width ? left : (size_t)width;
        if (width > SG_CHAT_BYTES_MAX)
            return sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
        SG_TRY(list_filled(r, items + at, length, &v[2], (size_t)width, &lines[made++]));
        at += length;
    }
    return sg_chat_iterator_of(r, lines, made, out);
}

FILTER(slice) // slices fill_with
{
    const sg_chat_value *items;
    sg_chat_value *columns;
    size_t count, at = 0;
    int64_t wanted;
    SG_TRY(sg_chat_whole(r, &v[1], 0, &wanted));
    if (wanted < 1 || wanted > 1000000)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "slice in %lld", (long long)wanted);
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    size_t columns_count = (size_t)wanted, each = count / columns_count;
    SG_TRY(sg_chat_new_items(r, columns_count, &columns));
    for (size_t i = 0; i < columns_count; i++) {
        bool extra = i < count % columns_count;
        size_t length = each + extra;
        SG_TRY(list_filled(r, items + at, length, &v[2], extra ? length : each + 1, &columns[i]));
        at += length;
    }
    return sg_chat_iterator_of(r, columns, columns_count, out);
}

// ---- sums -------------------------------------------------------------------------------------

FILTER(join) // d attribute
{
    const sg_chat_value *items;
    sg_chat_value between = sg_chat_string("", 0), *picked, absent = {0};
    size_t count;
    if (v[1].type != SG_CHAT_IS_ABSENT) SG_TRY(sg_chat_str(r, &v[1], &between));
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    if (list_given(&v[2])) {
        SG_TRY(list_keys(r, items, count, &v[2], &absent, true, &picked));
        items = picked;
    }
    return sg_chat_joined(r, &between, items, count, false, out);
}

FILTER(sum) // attribute start
{
    const sg_chat_value *items;
    sg_chat_value *picked, absent = {0}, total = sg_chat_integer(0);
    size_t count;
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(list_keys(r, items, count, &v[1], &absent, true, &picked));
    if (v[2].type != SG_CHAT_IS_ABSENT) total = v[2];
    if (total.type == SG_CHAT_IS_STRING)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a sum of strings");
    for (size_t i = 0; i < count; i++) {
        sg_chat_value so_far = total;
        SG_TRY(sg_chat_add(r, &so_far, &picked[i], &total));
    }
    *out = total;
    return SG_OK;
}

// ---- map, select ------------------------------------------------------------------------------

// The arguments from the n-th by place on.
static sg_chat_args list_args(const sg_chat_value *rest, size_t from, const sg_chat_value *names)
{
    size_t count = rest->count > from ? rest->count - from : 0;
    const sg_chat_value *items = count > 0 ? &rest->items[rest->count - count] : NULL;
    return (sg_chat_args){items, count, names->map};
}

// map(attribute='a', default=x): *names without them.
static sg_status list_map_attribute(sg_chat_run *r, const sg_chat_value *v,
                                    const sg_chat_value *items, size_t count, sg_chat_value *made)
{
    sg_chat_value key = sg_chat_word("attribute"), *attribute, *otherwise;
    SG_TRY(sg_chat_get(r, v[2].map, &key, &attribute));
    key = sg_chat_word("default");
    SG_TRY(sg_chat_get(r, v[2].map, &key, &otherwise));
    if (attribute == NULL || v[2].map->count != 1U + (otherwise != NULL))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "map without a filter or attribute");
    for (size_t i = 0; i < count; i++) {
        SG_TRY(sg_chat_path(r, &items[i], attribute, &made[i]));
        if (made[i].type == SG_CHAT_IS_UNDEFINED && otherwise != NULL) made[i] = *otherwise;
    }
    return SG_OK;
}

FILTER(map) // * **
{
    const sg_chat_value *items;
    sg_chat_value *made;
    size_t count;
    // Jinja looks at nothing else where there is nothing to go through: none is as good as a list.
    if (!sg_chat_truth(&v[0])) return sg_chat_iterator_of(r, NULL, 0, out);
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(sg_chat_new_items(r, count, &made));
    if (v[1].count == 0) {
        SG_TRY(list_map_attribute(r, v, items, count, made));
        return sg_chat_iterator_of(r, made, count, out);
    }
    SG_TRY(sg_chat_must_be_string(r, &v[1].items[0]));
    sg_chat_args args = list_args(&v[1], 1, &v[2]);
    for (size_t i = 0; i < count; i++)
        SG_TRY(sg_chat_apply_filter(r, v[1].items[0].text, v[1].items[0].count, &items[i], &args,
                                    &made[i]));
    return sg_chat_iterator_of(r, made, count, out);
}

static sg_status list_select(sg_chat_run *r, const sg_chat_value *v, bool attribute, bool wanted,
                             sg_chat_value *out)
{
    const sg_chat_value *items;
    sg_chat_value *made, looked_at, truth;
    size_t count, kept = 0, first = attribute ? 1 : 0;
    if (!sg_chat_truth(&v[0])) return sg_chat_iterator_of(r, NULL, 0, out); // as in map
    SG_TRY(sg_chat_each(r, &v[0], &items, &count));
    SG_TRY(sg_chat_new_items(r, count, &made));
    if (attribute && v[1].count == 0)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "selectattr without an attribute");
    sg_chat_args args = list_args(&v[1], first + 1, &v[2]);
    for (size_t i = 0; i < count; i++) {
        looked_at = truth = items[i];
        if (attribute) SG_TRY(sg_chat_path(r, &items[i], &v[1].items[0], &looked_at));
        truth = looked_at;
        if (v[1].count > first) {
            SG_TRY(sg_chat_must_be_string(r, &v[1].items[first]));
            SG_TRY(sg_chat_apply_test(r, v[1].items[first].text, v[1].items[first].count,
                                      &looked_at, &args, &truth));
        }
        if (sg_chat_truth(&truth) == wanted) made[kept++] = items[i];
    }
    return sg_chat_iterator_of(r, made, kept, out);
}

FILTER(select)
{
    return list_select(r, v, false, true, out);
}

FILTER(reject)
{
    return list_select(r, v, false, false, out);
}

FILTER(selectattr)
{
    return list_select(r, v, true, true, out);
}

FILTER(rejectattr)
{
    return list_select(r, v, true, false, out);
}
