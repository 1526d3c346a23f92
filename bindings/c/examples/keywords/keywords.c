/* Keywords in a recording (WAV, 16 kHz, mono, 16-bit), played hop by hop as a microphone would deliver it. Prints
 * `event MILLISECONDS LABEL PERCENT` for each keyword and, at the end, `stack BYTES`. The same on a chip and on a computer. */
#include "attn.h"
#include "board.h"
#include "kws.h"

static ATTN_ALIGNED uint8_t arena[KWS_ARENA_LEN];
static attn_spotter spotter;

static void print(const char *text) {
    size_t len = 0;
    while (text[len] != 0) {
        len += 1;
    }
    board_print(text, len);
}

static void print_number(uint64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    board_print(digits + first, sizeof digits - first);
}

static void heard(void *context, const attn_event *event) {
    (void)context;
    print("event ");
    print_number(event->time_samples / (ATTN_SAMPLE_RATE / 1000));
    print(" ");
    board_print(event->label.bytes, event->label.len);
    print(" ");
    print_number((uint64_t)event->confidence_q15 * 100 / 32767);
    print("\n");
}

static int fail(const attn_error *error) {
    char text[160];
    attn_error_text(error, text, sizeof text);
    print("error: ");
    print(text);
    print("\n");
    return 1;
}

static bool is(const uint8_t *found, const char *tag) {
    return found[0] == tag[0] && found[1] == tag[1] && found[2] == tag[2] && found[3] == tag[3];
}

/* Goes to the first sample of a WAV file and returns the number of its bytes of samples; 0 for what is no such file. */
static uint32_t find_samples(void) {
    uint8_t head[12], skipped[16];
    if (board_read(head, 12) != 12 || !is(head, "RIFF") || !is(head + 8, "WAVE")) {
        return 0;
    }
    while (board_read(head, 8) == 8) {
        uint32_t len = head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 24;
        if (is(head, "data")) {
            return len;
        }
        for (len += len & 1; len > 0;) {
            size_t piece = len < sizeof skipped ? len : sizeof skipped;
            if (board_read(skipped, piece) != piece) {
                return 0;
            }
            len -= (uint32_t)piece;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    attn_model model = {{0}};
    attn_error error;
    static int16_t pcm[512];
    uint32_t left;

    if (argc != 2 || !board_open(argv[1]) || (left = find_samples()) == 0) {
        print("error: the command line must name a WAV file that can be read\n");
        return 1;
    }
    if (attn_model_parse(&model, kws, KWS_LEN, NULL, &error) != ATTN_CODE_OK ||
        attn_spotter_init(&spotter, &model, arena, sizeof arena, &error) != ATTN_CODE_OK) {
        return fail(&error);
    }
    while (left > 0) {
        size_t bytes = 2 * attn_spotter_hop(&spotter);
        bytes = bytes < left ? bytes : left;
        if (board_read(pcm, bytes) != bytes) {
            print("error: the recording is shorter than its header says\n");
            return 1;
        }
        left -= (uint32_t)bytes;
        if (attn_spotter_push(&spotter, pcm, bytes / 2, heard, NULL, &error) != ATTN_CODE_OK) {
            return fail(&error);
        }
    }
    print("stack ");
    print_number(board_stack());
    print("\n");
    return 0;
}
