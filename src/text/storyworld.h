// The story world: stories told from patterns (storyworld_tables.h) over a table of facts. Its
// interface is the one of sgatlin.h; here is only what tests look into.
#ifndef SG_TEXT_STORYWORLD_H
#define SG_TEXT_STORYWORLD_H

#include "base/status.h"

// Whether a word is an adjective that some noun has in some world.
bool sg_story_is_adjective(const char *word, size_t bytes);

#endif
