#include "format/config_keys.h"

#include <stdio.h>
#include <string.h>

void sg_asked_add(sg_asked *asked, const char *key)
{
    if (asked->count < SG_ASKED_MOST && !sg_asked_has(asked, key))
        asked->keys[asked->count++] = key;
}

bool sg_asked_has(const sg_asked *asked, const char *key)
{
    for (size_t i = 0; i < asked->count; i++)
        if (strcmp(asked->keys[i], key) == 0) return true;
    return false;
}

void sg_unread_add(sg_unread *unread, const char *key)
{
    if (unread == NULL) return;
    const size_t used = strlen(unread->keys), room = sizeof unread->keys - used;
    unread->count++;
    if (strlen(key) + sizeof ", " > room || strlen(key) > 80) return;
    snprintf(unread->keys + used, room, "%s%s", used > 0 ? ", " : "", key);
    unread->shown++;
}

bool sg_unread_text(const sg_unread *unread, const char *name, char *text, size_t capacity)
{
    const size_t hidden = unread->count - unread->shown;
    char more[48] = "";
    if (unread->count == 0) return false;
    if (hidden > 0)
        snprintf(more, sizeof more, "%s%zu more", unread->shown > 0 ? " and " : "", hidden);
    snprintf(text, capacity, "%s: keys that are not read here: %s%s", name, unread->keys, more);
    return true;
}
