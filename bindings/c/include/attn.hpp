// attn for C++17: thin classes over attn.h. Header only; no exceptions, no allocation, no standard library.
//
// An object of these classes is made empty and then started: start() returns an error, which is true where something went wrong:
//
//     attn::Session session;
//     if (attn::Error error = session.start(model, arena)) { ... error.code ... }
//
// Decoders give their session back when they are destroyed. Objects are neither copied nor moved: the library refuses copies.
#ifndef ATTN_HPP
#define ATTN_HPP

#include "attn.h"

namespace attn {

/// Elements in a row that someone else owns.
template <typename T>
class Span {
public:
    constexpr Span() = default;
    constexpr Span(T *data, size_t size) : data_(data), size_(size) {}
    template <size_t N>
    constexpr Span(T (&array)[N]) : data_(array), size_(N) {}
    /// Containers with data() and size(): std::array, std::vector, std::span.
    template <typename C, typename = decltype(static_cast<T *>(static_cast<C *>(nullptr)->data()))>
    constexpr Span(C &container) : data_(container.data()), size_(container.size()) {}

    constexpr T *data() const { return data_; }
    constexpr size_t size() const { return size_; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr T &operator[](size_t at) const { return data_[at]; }
    constexpr T *begin() const { return data_; }
    constexpr T *end() const { return data_ + size_; }

private:
    T *data_ = nullptr;
    size_t size_ = 0;
};

/// What a call returns: true where something went wrong.
struct [[nodiscard]] Error : attn_error {
    Error() : attn_error{} {}
    explicit operator bool() const { return code != ATTN_CODE_OK; }
    /// Writes what it says into `buffer`, ended by a NUL; returns the buffer.
    template <size_t N>
    const char *text(char (&buffer)[N]) const {
        attn_error_text(this, buffer, N);
        return buffer;
    }
};

namespace detail {
/// An object of the library, which stays where it is.
template <typename T>
class Object {
public:
    Object() = default;
    Object(const Object &) = delete;
    Object &operator=(const Object &) = delete;
    T *get() { return &object_; }
    const T *get() const { return &object_; }

private:
    T object_ = {};
};
} // namespace detail

/// A file that was checked.
class Model : public detail::Object<attn_model> {
public:
    Error start(Span<const uint8_t> file, const attn_limits *limits = nullptr) {
        Error error;
        attn_model_parse(get(), file.data(), file.size(), limits, &error);
        return error;
    }
#if defined(ATTN_SIGNED)
    Error start_signed(Span<const uint8_t> file, const attn_trust &trust, const attn_limits *limits = nullptr) {
        Error error;
        attn_model_parse_signed(get(), file.data(), file.size(), &trust, limits, &error);
        return error;
    }
#endif
    size_t arena_len() const { return attn_model_arena_len(get()); }
    size_t beam_memory_len(size_t width) const { return attn_beam_memory_len(get(), width); }
    size_t max_length() const { return attn_model_max_length(get()); }
    /// Numbers by name; ATTN_NONE where there is none of this name.
    size_t entry(const char *name) const { return attn_model_entry(get(), name); }
    size_t input(size_t entry, const char *name) const { return attn_model_input_named(get(), entry, name); }
    size_t output(size_t entry, const char *name) const { return attn_model_output_named(get(), entry, name); }
    size_t label(const char *name) const { return attn_model_label_named(get(), name); }
    attn_text label(size_t number) const { return attn_model_label(get(), number); }
    attn_text token(uint16_t number) const { return attn_model_token(get(), number); }
    attn_text separator() const { return attn_model_separator(get()); }
};

/// A model in an arena.
class Session : public detail::Object<attn_session> {
public:
    Error start(const Model &model, Span<uint8_t> arena) {
        Error error;
        attn_session_init(get(), model.get(), arena.data(), arena.size(), &error);
        return error;
    }
    Error reset() { return call(attn_session_reset); }
    Error run(size_t entry = 0) { return call(attn_session_run, entry); }
    Error set_length(size_t length) { return call(attn_session_set_length, length); }
    /// Copies elements of the input's own type, or reals for any type.
    Error set(size_t entry, size_t index, Span<const int8_t> x) { return call(attn_session_set_i8, entry, index, x.data(), x.size()); }
    Error set(size_t entry, size_t index, Span<const int16_t> x) { return call(attn_session_set_i16, entry, index, x.data(), x.size()); }
    Error set(size_t entry, size_t index, Span<const int32_t> x) { return call(attn_session_set_i32, entry, index, x.data(), x.size()); }
    Error set(size_t entry, size_t index, Span<const float> x) { return call(attn_session_set_f32, entry, index, x.data(), x.size()); }
    /// Copies elements of the output's own type, or reals of any type.
    Error read(size_t entry, size_t index, Span<int8_t> x) { return call(attn_session_read_i8, entry, index, x.data(), x.size()); }
    Error read(size_t entry, size_t index, Span<int16_t> x) { return call(attn_session_read_i16, entry, index, x.data(), x.size()); }
    Error read(size_t entry, size_t index, Span<int32_t> x) { return call(attn_session_read_i32, entry, index, x.data(), x.size()); }
    Error read(size_t entry, size_t index, Span<float> x) { return call(attn_session_read_f32, entry, index, x.data(), x.size()); }

private:
    template <typename F, typename... A>
    Error call(F function, A... arguments) {
        Error error;
        function(get(), arguments..., &error);
        return error;
    }
};

/// A model that listens.
class Spotter : public detail::Object<attn_spotter> {
public:
    Error start(const Model &model, Span<uint8_t> arena) {
        Error error;
        attn_spotter_init(get(), model.get(), arena.data(), arena.size(), &error);
        return error;
    }
    /// Takes samples (16 kHz, mono) and calls `heard(const attn_event &)` for each keyword that they complete.
    template <typename F>
    Error push(Span<const int16_t> samples, F heard) {
        Error error;
        auto call = [](void *context, const attn_event *event) { (*static_cast<decltype(&heard)>(context))(*event); };
        attn_spotter_push(get(), samples.data(), samples.size(), call, &heard, &error);
        return error;
    }
    Error gap(uint64_t samples) {
        Error error;
        attn_spotter_gap(get(), samples, &error);
        return error;
    }
    Error reset() {
        Error error;
        attn_spotter_reset(get(), &error);
        return error;
    }
    Error set_threshold(size_t label, uint16_t threshold_q15) {
        Error error;
        attn_spotter_set_threshold(get(), label, threshold_q15, &error);
        return error;
    }
    size_t hop() const { return attn_spotter_hop(get()); }
};

/// Random numbers and a temperature, for tokens that are drawn.
class Sampling : public detail::Object<attn_sampling> {
public:
    Error start(float temperature, uint32_t seed) {
        Error error;
        attn_sampling_init(get(), temperature, seed, &error);
        return error;
    }
};

/// Greedy decoding.
class Greedy : public detail::Object<attn_greedy> {
public:
    ~Greedy() { attn_greedy_release(get(), nullptr); }
    Error start(Session &session) {
        Error error;
        attn_greedy_init(get(), session.get(), &error);
        return error;
    }
    Error encode(const char *text) {
        Error error;
        attn_greedy_encode_text(get(), text, &error);
        return error;
    }
    Error encode(Span<const uint16_t> symbols) {
        Error error;
        attn_greedy_encode_symbols(get(), symbols.data(), symbols.size(), &error);
        return error;
    }
    Error encode(Span<const int8_t> elements) {
        Error error;
        attn_greedy_encode_i8(get(), elements.data(), elements.size(), &error);
        return error;
    }
    Error encode(Span<const int16_t> elements) {
        Error error;
        attn_greedy_encode_i16(get(), elements.data(), elements.size(), &error);
        return error;
    }
    /// Features as reals, for an input of any type.
    Error encode(Span<const float> values) {
        Error error;
        attn_greedy_encode_f32(get(), values.data(), values.size(), &error);
        return error;
    }
    Error restart() {
        Error error;
        attn_greedy_restart(get(), &error);
        return error;
    }
    Error prompt(const char *text) {
        Error error;
        attn_greedy_prompt_text(get(), text, &error);
        return error;
    }
    /// The next token; `more` becomes false at the end of the sequence.
    Error step(uint16_t &token, bool &more) {
        Error error;
        attn_greedy_step(get(), &token, &more, &error);
        return error;
    }
    /// The next token, drawn among the `candidates` best.
    Error step(Sampling &sampling, size_t candidates, uint16_t &token, bool &more) {
        Error error;
        attn_greedy_step_sampled(get(), sampling.get(), candidates, &token, &more, &error);
        return error;
    }
    /// Runs a step and continues with `token`, whatever comes out best.
    Error follow(uint16_t token, bool &more) {
        Error error;
        attn_greedy_follow(get(), token, &more, &error);
        return error;
    }
    /// The attention weights of the last step; `count` becomes their number.
    Error weights(Span<float> into, size_t &count) const {
        Error error;
        attn_greedy_weights(get(), into.data(), into.size(), &count, &error);
        return error;
    }
    int32_t score() const { return attn_greedy_score(get()); }
    bool ended() const { return attn_greedy_ended(get()); }
};

/// Beam search.
class Beam : public detail::Object<attn_beam> {
public:
    ~Beam() { attn_beam_release(get(), nullptr); }
    Error start(Session &session, size_t width, Span<uint8_t> memory) {
        Error error;
        attn_beam_init(get(), session.get(), width, memory.data(), memory.size(), &error);
        return error;
    }
    Error encode(const char *text) {
        Error error;
        attn_beam_encode_text(get(), text, &error);
        return error;
    }
    Error encode(Span<const uint16_t> symbols) {
        Error error;
        attn_beam_encode_symbols(get(), symbols.data(), symbols.size(), &error);
        return error;
    }
    Error encode(Span<const int8_t> elements) {
        Error error;
        attn_beam_encode_i8(get(), elements.data(), elements.size(), &error);
        return error;
    }
    Error encode(Span<const int16_t> elements) {
        Error error;
        attn_beam_encode_i16(get(), elements.data(), elements.size(), &error);
        return error;
    }
    /// Features as reals, for an input of any type.
    Error encode(Span<const float> values) {
        Error error;
        attn_beam_encode_f32(get(), values.data(), values.size(), &error);
        return error;
    }
    Error decode() {
        Error error;
        attn_beam_decode(get(), &error);
        return error;
    }
    size_t size() const { return attn_beam_hypotheses(get()); }
    /// The tokens of the sequence of this rank; empty if there is none.
    Span<const uint16_t> tokens(size_t rank) const {
        attn_hypothesis found;
        if (attn_beam_hypothesis(get(), rank, &found, nullptr) != ATTN_CODE_OK) {
            return {};
        }
        return {found.tokens, found.count};
    }
};

} // namespace attn

#endif
