// Text of files, paths and models on its way to a terminal: control characters, which could move
// the cursor, change colours or the title, or type for the user, are spelt out.
#ifndef SGATLIN_CLI_VISIBLE_H
#define SGATLIN_CLI_VISIBLE_H

#include <stdbool.h>
#include <stdio.h>

// Writes the text with control characters (C0, DEL, C1, those that turn the direction of writing)
// as \x1b or \u202e, and bytes that are no UTF-8 as \xff. lines: \n and \t stay.
void cli_put_visible(FILE *file, const char *text, size_t bytes, bool lines);
// Where stdout is a terminal, all that is printed on it goes through the above from now on.
void cli_guard_stdout(void);

#endif
