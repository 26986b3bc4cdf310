// What was meant by a name that there is not.
#include <string.h>

#include "sgatlin.h"

// Edits (insert, remove, replace, swap neighbours) between two words, at most 31 letters of each.
static int nearest_distance(const char *a, const char *b)
{
    enum { LONGEST = 31 };
    int n = (int)strnlen(a, LONGEST), m = (int)strnlen(b, LONGEST);
    int d[LONGEST + 1][LONGEST + 1];
    for (int i = 0; i <= n; i++)
        d[i][0] = i;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *sg_nearest_name(const char *word, const char *const *names)
{
    size_t length = strlen(word);
    const char *best = NULL;
    int best_distance = 1 + (int)(length < 12 ? length / 3 + (length < 6) : 4);
    for (; *names != NULL; names++) {
        int distance = nearest_distance(word, *names);
        // The beginning of a name counts as near: --token for --tokenizer.
        if (length >= 3 && strncmp(word, *names, length) == 0) distance = 1;
        if (distance < best_distance) {
            best_distance = distance;
            best = *names;
        }
    }
    return best;
}
