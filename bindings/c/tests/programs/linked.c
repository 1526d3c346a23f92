/* A library with the operators of kws.attn refuses files that need others. Arguments: kws.attn g2p.attn llama.attn. */
#include "check.h"

int main(int argc, char **argv) {
    static const attn_code codes[3] = {ATTN_CODE_OK, ATTN_CODE_LENGTHS_NOT_LINKED, ATTN_CODE_NOT_LINKED};
    attn_model model = {{0}};
    attn_error error;
    char text[200];
    int at;
    CHECK(argc == 4);
    for (at = 0; at < 3; at++) {
        size_t len;
        uint8_t *file = load(argv[at + 1], &len);
        CODE(codes[at], attn_model_parse(&model, file, len, NULL, &error));
        attn_error_text(&error, text, sizeof text);
        CHECK((at == 0) == (strstr(text, "ATTN_MODELS") == NULL));
        free(file);
    }
    puts("every check holds");
    return 0;
}
