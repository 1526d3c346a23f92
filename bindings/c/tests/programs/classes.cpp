// The classes of attn.hpp. Arguments: kws.attn g2p.attn demo.wav. Prints keywords and phonemes.
#include "attn.hpp"
#include "check.h"

#include <vector>

static std::vector<uint8_t> bytes(const char *path) {
    size_t len;
    uint8_t *file = load(path, &len);
    std::vector<uint8_t> copy(file, file + len);
    free(file);
    return copy;
}

#define OK(call)                                                                           \
    do {                                                                                   \
        if (attn::Error error_ = (call)) {                                                 \
            char text_[256];                                                               \
            printf("%s:%d: %s\n", __FILE__, __LINE__, error_.text(text_));                 \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

static void print(const char *what, const attn::Model &model, attn::Span<const uint16_t> tokens) {
    printf("%s", what);
    for (uint16_t token : tokens) {
        attn_text name = model.token(token);
        printf(" %.*s", (int)name.len, name.bytes);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    std::vector<uint8_t> kws = bytes(argv[1]), g2p = bytes(argv[2]), wav = bytes(argv[3]);

    attn::Model model;
    OK(model.start(kws));
    std::vector<uint8_t> arena(model.arena_len());
    CHECK(model.label("alexa") != ATTN_NONE && model.label("no such") == ATTN_NONE);
    {
        attn::Spotter spotter;
        attn::Error early = spotter.reset();
        CHECK(early && early.code == ATTN_CODE_NOT_INITIALIZED);
        OK(spotter.start(model, arena));
        std::vector<int16_t> samples((wav.size() - 44) / 2);
        memcpy(samples.data(), wav.data() + 44, 2 * samples.size());
        const auto heard = [](const attn_event &event) {
            printf("heard %.*s\n", (int)event.label.len, event.label.bytes);
        };
        size_t hop = spotter.hop();
        for (size_t at = 0; at < samples.size(); at += hop) {
            size_t len = samples.size() - at < hop ? samples.size() - at : hop;
            OK(spotter.push({samples.data() + at, len}, heard));
        }
    }
    {
        attn::Session session;
        OK(session.start(model, arena));
        float features[40] = {};
        int16_t logits[64];
        attn_port port;
        CHECK(attn_model_output(model.get(), 0, 0, &port, nullptr) == ATTN_CODE_OK && port.count <= 64);
        OK(session.set(0, 0, features));
        OK(session.run());
        OK(session.read(0, 0, attn::Span<int16_t>(logits, port.count)));
        attn::Error wrong = session.set(0, 0, attn::Span<const int16_t>());
        char text[200];
        CHECK(wrong && wrong.code == ATTN_CODE_WRONG_TYPE && strlen(wrong.text(text)) > 10);
    }

    attn::Model words;
    OK(words.start(g2p));
    std::vector<uint8_t> memory(words.arena_len()), states(words.beam_memory_len(4));
    attn::Session session;
    OK(session.start(words, memory));
    {
        attn::Greedy greedy;
        OK(greedy.start(session));
        OK(greedy.encode("tokenize"));
        std::vector<uint16_t> tokens;
        uint16_t token;
        for (bool more = true; more;) {
            OK(greedy.step(token, more));
            if (more) {
                tokens.push_back(token);
            }
        }
        CHECK(greedy.ended());
        print("greedy", words, tokens);
        attn::Beam refused;
        CHECK(refused.start(session, 4, states).code == ATTN_CODE_IN_USE);
    }
    // The session is back.
    attn::Beam beam;
    OK(beam.start(session, 4, states));
    OK(beam.encode("tokenize"));
    OK(beam.decode());
    CHECK(beam.size() >= 1 && beam.tokens(99).empty());
    print("beam", words, beam.tokens(0));
    return 0;
}
