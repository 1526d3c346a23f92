/* Everything that a caller can get wrong gives its code, and nothing else happens. Arguments: kws.attn g2p.attn llama.attn demo.wav
 * signed/tiny.attn signed/key.pub digits.attn. */
#include "check.h"

static attn_error error;
static size_t kws_len, g2p_len, llama_len;
static uint8_t *kws, *g2p, *llama;

static const char *text(void) {
    static char buffer[256];
    CHECK(attn_error_text(&error, buffer, sizeof buffer) == strlen(buffer));
    return buffer;
}

static void *memory(size_t len) {
    void *bytes = malloc(len);
    CHECK(bytes != NULL && (uintptr_t)bytes % 16 == 0);
    return bytes;
}

static void files(void) {
    attn_model model = {{0}};
    attn_limits limits;
    uint8_t *moved = (uint8_t *)memory(kws_len + 1);
    uint8_t *changed = (uint8_t *)memory(kws_len);

    CODE(ATTN_CODE_NULL_POINTER, attn_model_parse(NULL, kws, kws_len, NULL, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_model_parse(&model, NULL, kws_len, NULL, &error));
    CODE(ATTN_CODE_TOO_LONG, attn_model_parse(&model, kws, SIZE_MAX, NULL, &error));
    CODE(ATTN_CODE_TOO_SHORT, attn_model_parse(&model, NULL, 0, NULL, &error));
    CODE(ATTN_CODE_TOO_SHORT, attn_model_parse(&model, kws, 79, NULL, &error));
    CHECK(error.found == 79 && strncmp(text(), "79 bytes are no .attn file", 26) == 0);
    CODE(ATTN_CODE_WRONG_LENGTH, attn_model_parse(&model, kws, kws_len - 1, NULL, &error));
    CHECK(error.expected == kws_len && error.found == kws_len - 1);
    memcpy(moved + 1, kws, kws_len);
    CODE(ATTN_CODE_MODEL_MISALIGNED, attn_model_parse(&model, moved + 1, kws_len, NULL, &error));
    memcpy(changed, kws, kws_len);
    changed[kws_len / 2] ^= 1;
    CODE(ATTN_CODE_BAD_CHECKSUM, attn_model_parse(&model, changed, kws_len, NULL, &error));
    changed[0] = 'B';
    CODE(ATTN_CODE_BAD_MAGIC, attn_model_parse(&model, changed, kws_len, NULL, &error));
    CHECK(attn_limits_default(NULL) == ATTN_CODE_NULL_POINTER);
    CHECK(attn_limits_default(&limits) == ATTN_CODE_OK);
    limits.macs = 1000;
    CODE(ATTN_CODE_TOO_MUCH_WORK, attn_model_parse(&model, kws, kws_len, &limits, &error));
    CHECK(error.reason == ATTN_CODE_MACS && error.expected == 1000 && error.found > 1000);
    CHECK(strstr(text(), "multiply-accumulates, at most 1000 are allowed") != NULL);
    limits.macs = UINT64_MAX;
    CODE(ATTN_CODE_OK, attn_model_parse(&model, kws, kws_len, &limits, &error));
    /* Without a place for the error. */
    CHECK(attn_model_parse(&model, changed, kws_len, NULL, NULL) == ATTN_CODE_BAD_MAGIC);
    /* The model that was there is still there. */
    CHECK(attn_model_arena_len(&model) > 0);
    free(moved);
    free(changed);
}

static void models(void) {
    attn_model none = {{0}}, model = {{0}}, copy;
    attn_port port;
    CHECK(attn_model_arena_len(&none) == 0 && attn_model_arena_len(NULL) == 0);
    CHECK(attn_model_entry(&none, "main") == ATTN_NONE && attn_model_label(&none, 0).len == 0);
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_model_input(&none, 0, 0, &port, &error));
    CODE(ATTN_CODE_OK, attn_model_parse(&model, kws, kws_len, NULL, &error));
    copy = model;
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_model_input(&copy, 0, 0, &port, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_model_input(&model, 0, 0, NULL, &error));
    CODE(ATTN_CODE_NO_SUCH_ENTRY, attn_model_input(&model, 99, 0, &port, &error));
    CODE(ATTN_CODE_NO_SUCH_TENSOR, attn_model_output(&model, 0, 7, &port, &error));
    CHECK(error.at == 7 && strcmp(text(), "the entry point has no input or output 7") == 0);
    CODE(ATTN_CODE_OK, attn_model_input(&model, 0, 0, &port, &error));
    CHECK(port.element_type == ATTN_TYPE_I8 && port.count == 40 && port.scale == 1.0f / 32 && port.name.len > 0);
    CHECK(attn_model_entry(&model, "no such") == ATTN_NONE && attn_model_entry(&model, NULL) == ATTN_NONE);
    CHECK(attn_model_input_named(&model, 0, "no such") == ATTN_NONE);
    CHECK(attn_model_inputs(&model, 0) == 1 && attn_model_inputs(&model, 99) == 0);
    CHECK(attn_model_label_named(&model, "alexa") < attn_model_labels(&model));
    CHECK(attn_model_label(&model, 999).len == 0);
}

static void sessions(void) {
    attn_model model = {{0}};
    attn_session none = {{0}}, session = {{0}}, other;
    int8_t in[41] = {0};
    int16_t wide[40] = {0}, logits[64];
    float reals[40] = {0}, out[64];
    attn_port port;
    void *elements;
    const void *result;
    size_t len, count;
    bool done = true;
    uint8_t *arena;

    CODE(ATTN_CODE_OK, attn_model_parse(&model, kws, kws_len, NULL, &error));
    len = attn_model_arena_len(&model);
    arena = (uint8_t *)memory(len + 16);
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_session_run(&none, 0, &error));
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_session_init(&session, (attn_model *)&none, arena, len, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_session_run(NULL, 0, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_session_init(&session, NULL, arena, len, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_session_init(NULL, &model, arena, len, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_session_init(&session, &model, NULL, len, &error));
    CODE(ATTN_CODE_ARENA_TOO_SMALL, attn_session_init(&session, &model, arena, len - 1, &error));
    CHECK(error.found == len - 1 && error.expected == len && strstr(text(), "the model needs") != NULL);
    CODE(ATTN_CODE_ARENA_MISALIGNED, attn_session_init(&session, &model, arena + 4, len, &error));
    CODE(ATTN_CODE_STRUCT_MISALIGNED, attn_session_init((attn_session *)(void *)(arena + 4), &model, arena, len, &error));
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_session_reset(&session, &error));
    CODE(ATTN_CODE_OK, attn_session_init(&session, &model, arena, len, &error));
    other = session;
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_session_run(&other, 0, &error));
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_spotter_reset((attn_spotter *)(void *)&session, &error));

    CODE(ATTN_CODE_NO_SUCH_ENTRY, attn_session_run(&session, 5, &error));
    CODE(ATTN_CODE_NO_SUCH_ENTRY, attn_session_run(&session, ATTN_NONE, &error));
    CODE(ATTN_CODE_NO_SUCH_TENSOR, attn_session_set_i8(&session, 0, ATTN_NONE, in, 40, &error));
    CODE(ATTN_CODE_WRONG_TYPE, attn_session_set_i16(&session, 0, 0, wide, 40, &error));
    CHECK(error.expected == ATTN_TYPE_I8 && error.found == ATTN_TYPE_I16);
    CODE(ATTN_CODE_WRONG_COUNT, attn_session_set_i8(&session, 0, 0, in, 41, &error));
    CHECK(error.found == 41 && error.expected == 40);
    CODE(ATTN_CODE_NULL_POINTER, attn_session_set_i8(&session, 0, 0, NULL, 40, &error));
    CODE(ATTN_CODE_ELEMENTS_MISALIGNED, attn_session_set_i16(&session, 0, 0, (int16_t *)(void *)(in + ((uintptr_t)in % 2 == 0)), 10, &error));
    CODE(ATTN_CODE_WRONG_COUNT, attn_session_set_f32(&session, 0, 0, reals, 39, &error));
    CODE(ATTN_CODE_NOT_RUN, attn_session_read_f32(&session, 0, 0, out, 1, &error));
    CODE(ATTN_CODE_NOT_STARTED, attn_session_run_ops(&session, 1, &done, &error));
    CHECK(!done);
    CODE(ATTN_CODE_NULL_POINTER, attn_session_run_ops(&session, 1, NULL, &error));
    CODE(ATTN_CODE_LENGTH_OUT_OF_RANGE, attn_session_set_length(&session, 3, &error));
    CODE(ATTN_CODE_OK, attn_session_start(&session, 0, &error));
    CODE(ATTN_CODE_UNFINISHED, attn_session_set_i8(&session, 0, 0, in, 40, &error));
    for (done = false; !done;) {
        CODE(ATTN_CODE_OK, attn_session_run_ops(&session, 1, &done, &error));
    }

    /* The same through reals, integers and in place. */
    CODE(ATTN_CODE_OK, attn_model_output(&model, 0, 0, &port, &error));
    CODE(ATTN_CODE_OK, attn_session_reset(&session, &error));
    for (count = 0; count < 40; count++) {
        in[count] = (int8_t)(3 * count - 60);
        reals[count] = (float)in[count] / 32;
    }
    CODE(ATTN_CODE_OK, attn_session_set_i8(&session, 0, 0, in, 40, &error));
    CODE(ATTN_CODE_OK, attn_session_run(&session, 0, &error));
    CHECK(port.element_type == ATTN_TYPE_I16);
    CODE(ATTN_CODE_WRONG_TYPE, attn_session_read_i8(&session, 0, 0, in, port.count, &error));
    CODE(ATTN_CODE_OK, attn_session_read_i16(&session, 0, 0, logits, port.count, &error));
    CODE(ATTN_CODE_OK, attn_session_read_f32(&session, 0, 0, out, port.count, &error));
    for (count = 0; count < port.count; count++) {
        CHECK(out[count] == port.scale * (float)(logits[count] - port.zero_point));
    }
    CODE(ATTN_CODE_OK, attn_session_reset(&session, &error));
    CODE(ATTN_CODE_OK, attn_session_set_f32(&session, 0, 0, reals, 40, &error));
    CODE(ATTN_CODE_OK, attn_session_input(&session, 0, 0, &elements, &count, &error));
    CHECK(count == 40 && memcmp(elements, in, 40) == 0);
    CODE(ATTN_CODE_OK, attn_session_run(&session, 0, &error));
    CODE(ATTN_CODE_OK, attn_session_output(&session, 0, 0, &result, &count, &error));
    CHECK(count == port.count && memcmp(result, logits, 2 * count) == 0);
    free(arena);
}

struct listener {
    attn_spotter *spotter;
    int events;
};

static void heard(void *context, const attn_event *event) {
    struct listener *listener = (struct listener *)context;
    listener->events += 1;
    CHECK(event->label.len > 0 && event->confidence_q15 <= 32767);
    /* The spotter refuses to be used in here. */
    CODE(ATTN_CODE_IN_USE, attn_spotter_reset(listener->spotter, &error));
    CHECK(attn_spotter_hop(listener->spotter) == 0);
}

/* Keywords heard two operators at a time. */
static int in_slices(attn_spotter *spotter, const int16_t *pcm, size_t samples) {
    int events = 0;
    while (samples > 0) {
        size_t taken;
        attn_event event;
        attn_poll state = ATTN_POLL_PENDING;
        CODE(ATTN_CODE_OK, attn_spotter_feed(spotter, pcm, samples, &taken, &error));
        pcm += taken;
        samples -= taken;
        while (state == ATTN_POLL_PENDING) {
            CODE(ATTN_CODE_OK, attn_spotter_poll(spotter, 2, &event, &state, &error));
        }
        events += state == ATTN_POLL_READY;
    }
    return events;
}

static void spotters(const char *wav) {
    attn_model model = {{0}}, words = {{0}};
    attn_spotter none = {{0}}, spotter = {{0}};
    attn_feature_spotter features = {{0}};
    attn_decision decision;
    struct listener listener = {&spotter, 0};
    int8_t frame[40] = {0};
    size_t len, wav_len;
    uint8_t *arena, *sound = load(wav, &wav_len);
    int16_t *pcm = (int16_t *)(void *)(sound + 44);
    size_t samples = (wav_len - 44) / 2;

    CODE(ATTN_CODE_OK, attn_model_parse(&model, kws, kws_len, NULL, &error));
    CODE(ATTN_CODE_OK, attn_model_parse(&words, g2p, g2p_len, NULL, &error));
    len = attn_model_arena_len(&words);
    arena = (uint8_t *)memory(len);
    CODE(ATTN_CODE_NO_AUDIO, attn_spotter_init(&spotter, &words, arena, len, &error));
    CODE(ATTN_CODE_NO_SPOTTER, attn_feature_spotter_init(&features, &words, arena, len, &error));
    free(arena);
    len = attn_model_arena_len(&model);
    arena = (uint8_t *)memory(len);
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_spotter_push(&none, pcm, 1, heard, &listener, &error));
    CHECK(attn_spotter_hop(&none) == 0);
    CODE(ATTN_CODE_ARENA_TOO_SMALL, attn_spotter_init(&spotter, &model, arena, 16, &error));
    CODE(ATTN_CODE_OK, attn_spotter_init(&spotter, &model, arena, len, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_spotter_push(&spotter, NULL, 1, heard, &listener, &error));
    CODE(ATTN_CODE_OK, attn_spotter_push(&spotter, NULL, 0, heard, &listener, &error));
    CODE(ATTN_CODE_NO_SUCH_LABEL, attn_spotter_set_threshold(&spotter, 1000, 5, &error));
    CHECK(error.found == 1000 && error.expected == attn_model_labels(&model));
    CODE(ATTN_CODE_OK, attn_spotter_push(&spotter, pcm, samples, heard, &listener, &error));
    CHECK(listener.events > 3);
    /* Without someone to tell. */
    CODE(ATTN_CODE_OK, attn_spotter_push(&spotter, pcm, samples, NULL, NULL, &error));
    CODE(ATTN_CODE_OK, attn_spotter_gap(&spotter, 1000, &error));
    CODE(ATTN_CODE_OK, attn_spotter_reset(&spotter, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_spotter_feed(&spotter, pcm, samples, NULL, &error));
    CHECK(in_slices(&spotter, pcm, samples) == listener.events);

    CODE(ATTN_CODE_OK, attn_feature_spotter_init(&features, &model, arena, len, &error));
    CODE(ATTN_CODE_BAD_FEATURE_COUNT, attn_feature_spotter_push(&features, frame, 39, &decision, &error));
    CHECK(error.found == 39 && error.expected == 40 && decision.label_index == ATTN_NONE);
    CODE(ATTN_CODE_NULL_POINTER, attn_feature_spotter_push(&features, frame, 40, NULL, &error));
    CODE(ATTN_CODE_OK, attn_feature_spotter_push(&features, frame, 40, &decision, &error));
    CHECK(decision.label_index == ATTN_NONE);
    CODE(ATTN_CODE_OK, attn_feature_spotter_set_threshold(&features, 0, ATTN_NEVER, &error));
    CODE(ATTN_CODE_OK, attn_feature_spotter_reset(&features, &error));
    free(arena);
    free(sound);
}

static void decoders(void) {
    attn_model model = {{0}}, words = {{0}};
    attn_session session = {{0}}, second = {{0}};
    attn_greedy greedy = {{0}}, other = {{0}};
    attn_beam beam = {{0}};
    attn_hypothesis found;
    const int8_t row[3] = {1, 2, 3};
    uint16_t tokens[64], token, symbol = 999;
    size_t len, count = 0, memory_len, at;
    uint8_t *arena, *states, *small;
    float weights[16], sum;
    size_t rows, row_at;
    attn_poll state;
    int32_t score;
    bool more;

    CODE(ATTN_CODE_OK, attn_model_parse(&model, kws, kws_len, NULL, &error));
    CODE(ATTN_CODE_OK, attn_model_parse(&words, g2p, g2p_len, NULL, &error));
    small = (uint8_t *)memory(attn_model_arena_len(&model));
    CODE(ATTN_CODE_OK, attn_session_init(&second, &model, small, attn_model_arena_len(&model), &error));
    CODE(ATTN_CODE_NO_DECODE, attn_greedy_init(&greedy, &second, &error));
    CHECK(attn_beam_memory_len(&model, 4) == 0);
    /* The session was given back. */
    CODE(ATTN_CODE_OK, attn_session_reset(&second, &error));
    len = attn_model_arena_len(&words);
    arena = (uint8_t *)memory(len);
    CODE(ATTN_CODE_OK, attn_session_init(&session, &words, arena, len, &error));
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_greedy_encode_text(&greedy, "word", &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_greedy_init(&greedy, NULL, &error));
    CODE(ATTN_CODE_OK, attn_greedy_init(&greedy, &session, &error));
    /* The decoder has the session. */
    CODE(ATTN_CODE_IN_USE, attn_session_run(&session, 0, &error));
    CODE(ATTN_CODE_IN_USE, attn_greedy_init(&other, &session, &error));
    CODE(ATTN_CODE_IN_USE, attn_session_init(&session, &words, arena, len, &error));
    CODE(ATTN_CODE_NOT_ENCODED, attn_greedy_step(&greedy, &token, &more, &error));
    CODE(ATTN_CODE_INPUT_NEEDED, attn_greedy_restart(&greedy, &error));
    CODE(ATTN_CODE_EMPTY_INPUT, attn_greedy_encode_text(&greedy, "", &error));
    CODE(ATTN_CODE_UNKNOWN_TEXT, attn_greedy_encode_text(&greedy, "a\xc3\xa9", &error));
    CHECK(error.at == 1 && strcmp(error.name, "\xc3\xa9") == 0 && strstr(text(), "\xc3\xa9 (character 1)") != NULL);
    CODE(ATTN_CODE_NOT_UTF8, attn_greedy_encode_text(&greedy, "a\xff", &error));
    CODE(ATTN_CODE_UNKNOWN_SYMBOL, attn_greedy_encode_symbols(&greedy, &symbol, 1, &error));
    CHECK(error.found == 999 && error.at == 0);
    CODE(ATTN_CODE_WRONG_TYPE, attn_greedy_encode_i8(&greedy, row, 3, &error));
    CODE(ATTN_CODE_INPUT_TOO_LONG, attn_greedy_encode_text(&greedy,
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &error));
    CODE(ATTN_CODE_OK, attn_greedy_encode_text(&greedy, "tokenize", &error));
    for (more = true; more;) {
        CODE(ATTN_CODE_OK, attn_greedy_step(&greedy, &token, &more, &error));
        if (more && count < 64) {
            tokens[count++] = token;
        }
    }
    CHECK(attn_greedy_ended(&greedy) && attn_greedy_score(&greedy) < 0 && count > 4);
    /* The same in slices. */
    CODE(ATTN_CODE_OK, attn_greedy_load_text(&greedy, "tokenize", &error));
    for (at = 0, state = ATTN_POLL_PENDING; state != ATTN_POLL_DONE;) {
        CODE(ATTN_CODE_OK, attn_greedy_poll(&greedy, 1, &token, &state, &error));
        if (state == ATTN_POLL_READY) {
            CHECK(token == tokens[at]);
            at += 1;
        }
    }
    CHECK(at == count);
    /* Led through the same, with the weights of each step over eight letters. */
    CODE(ATTN_CODE_OK, attn_greedy_encode_text(&greedy, "tokenize", &error));
    CODE(ATTN_CODE_NOT_RUN, attn_greedy_weights(&greedy, weights, 16, &rows, &error));
    for (at = 0; at < count; at++) {
        CODE(ATTN_CODE_OK, attn_greedy_follow(&greedy, tokens[at], &more, &error));
        CHECK(more);
        CODE(ATTN_CODE_WRONG_COUNT, attn_greedy_weights(&greedy, weights, 7, &rows, &error));
        CHECK(rows == 8 && error.found == 7 && error.expected == 8);
        CODE(ATTN_CODE_OK, attn_greedy_weights(&greedy, weights, 16, &rows, &error));
        for (sum = 0, row_at = 0; row_at < rows; row_at++) {
            CHECK(weights[row_at] >= 0);
            sum += weights[row_at];
        }
        CHECK(rows == 8 && sum > 0.99f && sum < 1.01f);
    }
    CODE(ATTN_CODE_OK, attn_greedy_step(&greedy, &token, &more, &error));
    CHECK(!more && attn_greedy_ended(&greedy));
    CODE(ATTN_CODE_OK, attn_greedy_release(&greedy, &error));
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_greedy_release(&greedy, &error));
    CODE(ATTN_CODE_OK, attn_session_reset(&session, &error));

    memory_len = attn_beam_memory_len(&words, 4);
    states = (uint8_t *)memory(memory_len + 4);
    CODE(ATTN_CODE_BAD_WIDTH, attn_beam_init(&beam, &session, 0, states, memory_len, &error));
    CODE(ATTN_CODE_BAD_WIDTH, attn_beam_init(&beam, &session, ATTN_NONE, states, memory_len, &error));
    CODE(ATTN_CODE_MEMORY_TOO_SMALL, attn_beam_init(&beam, &session, 4, states, memory_len - 1, &error));
    CHECK(error.found == memory_len - 1 && error.expected == memory_len);
    CODE(ATTN_CODE_MEMORY_MISALIGNED, attn_beam_init(&beam, &session, 4, states + 1, memory_len, &error));
    CODE(ATTN_CODE_OK, attn_beam_init(&beam, &session, 4, states, memory_len, &error));
    CHECK(attn_beam_hypotheses(&beam) == 0);
    CODE(ATTN_CODE_NOT_ENCODED, attn_beam_decode(&beam, &error));
    CODE(ATTN_CODE_OK, attn_beam_encode_text(&beam, "tokenize", &error));
    CODE(ATTN_CODE_OK, attn_beam_decode(&beam, &error));
    CODE(ATTN_CODE_NO_SUCH_HYPOTHESIS, attn_beam_hypothesis(&beam, 9, &found, &error));
    CODE(ATTN_CODE_OK, attn_beam_hypothesis(&beam, 0, &found, &error));
    CHECK(found.ended && found.count > 4 && attn_model_token(&words, found.tokens[0]).len > 0);
    score = found.score;
    CODE(ATTN_CODE_OK, attn_beam_load_text(&beam, "tokenize", &error));
    for (more = false; !more;) {
        CODE(ATTN_CODE_OK, attn_beam_poll(&beam, 3, &more, &error));
    }
    CODE(ATTN_CODE_OK, attn_beam_hypothesis(&beam, 0, &found, &error));
    CHECK(found.score == score);
    CODE(ATTN_CODE_OK, attn_beam_release(&beam, &error));
    free(states);
    free(small);
    free(arena);
}

/* Features as reals are the same sequence as the integers that they stand for. */
static void features(const char *digits_path) {
    attn_model model = {{0}};
    attn_session session = {{0}};
    attn_greedy greedy = {{0}};
    attn_port port;
    uint16_t token;
    int32_t scores[2];
    size_t file_len, len, pass, at, count;
    uint8_t *file = load(digits_path, &file_len), *arena;
    int8_t *integers;
    float *reals;
    bool more;
    CODE(ATTN_CODE_OK, attn_model_parse(&model, file, file_len, NULL, &error));
    CODE(ATTN_CODE_OK, attn_model_input(&model, attn_model_entry(&model, "encode"), 0, &port, &error));
    CHECK(port.element_type == ATTN_TYPE_I8 && port.rank == 2);
    count = 30 * port.dims[1];
    integers = (int8_t *)memory(count);
    reals = (float *)memory(count * sizeof *reals);
    for (at = 0; at < count; at++) {
        integers[at] = (int8_t)((int)(at * 37 % 251) - 125);
        reals[at] = (float)(integers[at] - port.zero_point) * port.scale;
    }
    len = attn_model_arena_len(&model);
    arena = (uint8_t *)memory(len);
    CODE(ATTN_CODE_OK, attn_session_init(&session, &model, arena, len, &error));
    CODE(ATTN_CODE_OK, attn_greedy_init(&greedy, &session, &error));
    CODE(ATTN_CODE_PARTIAL_ROW, attn_greedy_encode_f32(&greedy, reals, count - 1, &error));
    for (pass = 0; pass < 2; pass++) {
        if (pass == 0) {
            CODE(ATTN_CODE_OK, attn_greedy_encode_i8(&greedy, integers, count, &error));
        } else {
            CODE(ATTN_CODE_OK, attn_greedy_load_f32(&greedy, reals, count, &error));
        }
        for (more = true; more;) {
            CODE(ATTN_CODE_OK, attn_greedy_step(&greedy, &token, &more, &error));
        }
        scores[pass] = attn_greedy_score(&greedy);
    }
    CHECK(scores[0] == scores[1] && scores[0] < 0);
    CODE(ATTN_CODE_OK, attn_greedy_release(&greedy, &error));
    free(file);
    free(integers);
    free(reals);
    free(arena);
}

/* The same seed gives the same text, another one another text; one candidate is the best. */
static void drawn(attn_greedy *greedy) {
    attn_sampling sampling = {{0}};
    uint16_t texts[4][24];
    const uint32_t seeds[4] = {7, 7, 8, 9};
    float weight;
    size_t count, at, text;
    uint16_t token;
    bool more;
    CODE(ATTN_CODE_NOT_INITIALIZED, attn_greedy_step_sampled(greedy, &sampling, 4, &token, &more, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_sampling_init(NULL, 1.0f, 7, &error));
    for (text = 0; text < 4; text++) {
        CODE(ATTN_CODE_OK, attn_sampling_init(&sampling, 1.0f, seeds[text], &error));
        CODE(ATTN_CODE_BAD_CANDIDATES, attn_greedy_step_sampled(greedy, &sampling, 17, &token, &more, &error));
        CHECK(error.found == 17 && error.expected == ATTN_MAX_CANDIDATES);
        CODE(ATTN_CODE_BAD_CANDIDATES, attn_greedy_step_sampled(greedy, &sampling, 0, &token, &more, &error));
        CODE(ATTN_CODE_OK, attn_greedy_restart(greedy, &error));
        for (at = 0; at < 24; at++) {
            CODE(ATTN_CODE_OK, attn_greedy_step_sampled(greedy, &sampling, text < 3 ? 16 : 1, &texts[text][at], &more, &error));
            CHECK(more);
        }
    }
    CHECK(memcmp(texts[0], texts[1], sizeof texts[0]) == 0);
    CHECK(memcmp(texts[0], texts[2], sizeof texts[0]) != 0);
    CODE(ATTN_CODE_OK, attn_greedy_restart(greedy, &error));
    for (at = 0; at < 24; at++) {
        CODE(ATTN_CODE_OK, attn_greedy_step(greedy, &token, &more, &error));
        CHECK(token == texts[3][at]);
    }
    CODE(ATTN_CODE_NO_WEIGHTS, attn_greedy_weights(greedy, &weight, 1, &count, &error));
    CODE(ATTN_CODE_NO_ENCODER, attn_greedy_encode_f32(greedy, &weight, 0, &error));
}

static void continued(void) {
    attn_model model = {{0}};
    attn_session session = {{0}};
    attn_greedy greedy = {{0}};
    uint16_t token;
    size_t len;
    bool more;
    uint8_t *arena;
    CODE(ATTN_CODE_OK, attn_model_parse(&model, llama, llama_len, NULL, &error));
    len = attn_model_arena_len(&model);
    arena = (uint8_t *)memory(len);
    CODE(ATTN_CODE_OK, attn_session_init(&session, &model, arena, len, &error));
    CODE(ATTN_CODE_OK, attn_greedy_init(&greedy, &session, &error));
    CODE(ATTN_CODE_NO_ENCODER, attn_greedy_encode_symbols(&greedy, &token, 0, &error));
    CODE(ATTN_CODE_NOT_ENCODED, attn_greedy_prompt_text(&greedy, "It is", &error));
    CODE(ATTN_CODE_OK, attn_greedy_restart(&greedy, &error));
    CODE(ATTN_CODE_OK, attn_greedy_prompt_text(&greedy, "It is", &error));
    CODE(ATTN_CODE_OK, attn_greedy_step(&greedy, &token, &more, &error));
    CHECK(more);
    drawn(&greedy);
    CODE(ATTN_CODE_OK, attn_greedy_release(&greedy, &error));
    free(arena);
}

/* tiny.attn is signed as "tiny", version 7, with the secret key that belongs to key.pub; nobody has that any more. */
static void signatures(const char *signed_path, const char *key_path) {
    attn_model model = {{0}};
    size_t len, key_len;
    uint8_t *file = load(signed_path, &len), *key = load(key_path, &key_len);
    attn_trust trust;
    CHECK(key_len == 32);
    trust.key = key;
    trust.model = "tiny";
    trust.oldest = 8;
    CODE(ATTN_CODE_OLDER, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    CHECK(error.found == 7 && error.expected == 8);
    trust.oldest = 7;
    CODE(ATTN_CODE_OK, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    trust.model = "other";
    CODE(ATTN_CODE_OTHER_MODEL, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    CHECK(strcmp(error.name, "tiny") == 0 && strcmp(text(), "it is another model: tiny") == 0);
    trust.model = "a name that has more than 16 bytes";
    CODE(ATTN_CODE_NAME_TOO_LONG, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    trust.model = NULL;
    CODE(ATTN_CODE_NULL_POINTER, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    trust.model = "tiny";
    CODE(ATTN_CODE_UNSIGNED, attn_model_parse_signed(&model, kws, kws_len, &trust, NULL, &error));
    key[0] ^= 1;
    CODE(ATTN_CODE_BAD_SIGNATURE, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    trust.key = NULL;
    CODE(ATTN_CODE_NULL_POINTER, attn_model_parse_signed(&model, file, len, &trust, NULL, &error));
    CODE(ATTN_CODE_NULL_POINTER, attn_model_parse_signed(&model, file, len, NULL, NULL, &error));
    free(file);
    free(key);
}

static void texts(void) {
    char buffer[8] = "unset";
    attn_error unknown;
    memset(&unknown, 0xff, sizeof unknown);
    CHECK(attn_error_text(NULL, buffer, sizeof buffer) == 0);
    CHECK(attn_error_text(&unknown, buffer, sizeof buffer) > 8 && strlen(buffer) == 7);
    CODE(ATTN_CODE_NULL_POINTER, attn_session_reset(NULL, &error));
    CHECK(attn_error_text(&error, buffer, 0) > 0 && attn_error_text(&error, NULL, 0) > 0);
    CHECK(attn_error_text(&error, buffer, 1) > 0 && buffer[0] == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 8);
    CHECK(attn_api_version() == ATTN_API_VERSION);
    kws = load(argv[1], &kws_len);
    g2p = load(argv[2], &g2p_len);
    llama = load(argv[3], &llama_len);
    files();
    models();
    sessions();
    spotters(argv[4]);
    decoders();
    features(argv[7]);
    continued();
    signatures(argv[5], argv[6]);
    texts();
    free(kws);
    free(g2p);
    free(llama);
    puts("every check holds");
    return 0;
}
