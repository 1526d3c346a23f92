/* What the keyword program needs of the machine it runs on: a recording and a console. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>

/** Opens a file to be read; there is one. */
bool board_open(const char *path);

/** Reads up to `count` bytes from it; returns how many there were. */
size_t board_read(void *bytes, size_t count);

/** Prints text. */
void board_print(const char *text, size_t len);

/** Greatest number of bytes that the stack has had; 0 where nobody knows. */
size_t board_stack(void);

#endif
