/* A computer as a board: files and console of the C library. */
#include "board.h"

#include <stdio.h>

static FILE *file;

bool board_open(const char *path) {
    file = fopen(path, "rb");
    return file != NULL;
}

size_t board_read(void *bytes, size_t count) {
    return fread(bytes, 1, count, file);
}

void board_print(const char *text, size_t len) {
    fwrite(text, 1, len, stdout);
}

size_t board_stack(void) {
    return 0;
}
