// Random networks, vocabularies and texts through the C functions of native/*.cpp, compiled with the sanitizers, which end
// the process at the first read or write outside a buffer, overflow or misaligned access.
//
//     fuzz ROUNDS SEED
#include "../../native/categorizer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

static std::mt19937 randomness;

static int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(randomness); }

static std::vector<float> numbers(size_t count, float size) {
    std::normal_distribution<float> normal(0, size);
    std::vector<float> values(count);
    for (float &value : values) value = normal(randomness);
    return values;
}

static void check(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

static void fuzz_network() {
    const int64_t vocabulary = between(1, 50), units = between(1, 70), directions = between(1, 2), dense = between(1, 20),
                  labels = between(1, 12);
    const float size = std::pow(10.0f, (float)between(-3, 6));
    std::vector<std::vector<float>> inputs, recurrent;
    std::vector<const float *> input_starts, recurrent_starts;
    for (int64_t d = 0; d < directions; d++) {
        inputs.push_back(numbers(vocabulary * 4 * units, size));
        recurrent.push_back(numbers(units * 4 * units, size));
    }
    for (int64_t d = 0; d < directions; d++) {
        input_starts.push_back(inputs[d].data());
        recurrent_starts.push_back(recurrent[d].data());
    }
    const std::vector<float> dense_weights = numbers(directions * units * dense, 1), dense_bias = numbers(dense, 1),
                             output_weights = numbers(dense * labels, 1), output_bias = numbers(labels, 1);
    std::vector<int64_t> offsets{0};
    const int64_t rows = between(0, 20), longest = between(0, 40);
    for (int64_t row = 0; row < rows; row++) offsets.push_back(offsets.back() + between(0, longest));
    std::vector<int32_t> ids(offsets.back());
    for (int32_t &id : ids) id = (int32_t)between(0, vocabulary - 1);
    const int64_t bag_width = between(0, 1) ? between(1, 40) : 0, bag_features = between(1, 30);
    std::vector<int8_t> table(bag_features * bag_width);
    for (int8_t &value : table) value = (int8_t)between(-127, 127);
    const std::vector<float> scales = numbers(bag_features, 0.1f), bag_slopes = numbers(bag_width, 1),
                             bag_output = numbers(bag_width * labels, 0.1f);
    std::vector<int64_t> bag_offsets{0};
    for (int64_t row = 0; row < rows; row++) bag_offsets.push_back(bag_offsets.back() + between(0, longest));
    std::vector<int32_t> features(bag_offsets.back());
    for (int32_t &feature : features) feature = (int32_t)between(0, bag_features - 1);
    const std::vector<float> weights = numbers(features.size(), 1);
    std::vector<float> out(rows * labels), evidence(rows);
    const auto score = [&](void *network, const std::vector<int32_t> &of, const std::vector<int32_t> &with) {
        return categorizer_probabilities(network, of.data(), offsets.data(), rows, with.data(), weights.data(), bag_offsets.data(),
                                         out.data(), evidence.data());
    };
    for (int set = 0; set <= categorizer_best_instruction_set(); set++) {
        void *network = categorizer_network(vocabulary, units, directions, input_starts.data(), recurrent_starts.data(), dense,
                                            dense_weights.data(), dense_bias.data(), labels, output_weights.data(),
                                            output_bias.data(), bag_features, bag_width, table.data(), scales.data(),
                                            bag_slopes.data(), bag_output.data(), set);
        check(network != nullptr, "a network");
        check(score(network, ids, features) == 0, "probabilities");
        for (int64_t row = 0; row < rows; row++) {
            float sum = 0;
            for (int64_t label = 0; label < labels; label++) sum += out[row * labels + label];
            if (offsets[row] == offsets[row + 1])
                check(std::isnan(sum) && std::isnan(evidence[row]), "no number for a text without ids");
            else
                check(std::fabs(sum - 1) < 1e-4 && std::isfinite(evidence[row]), "probabilities that sum to 1");
        }
        if (!ids.empty()) {
            std::vector<int32_t> wrong = ids;
            wrong[between(0, wrong.size() - 1)] = (int32_t)(between(0, 1) ? vocabulary + between(0, 1 << 30) : -between(1, 1 << 30));
            check(score(network, wrong, features) == 1, "a wrong id seen");
        }
        if (bag_width && !features.empty()) {
            std::vector<int32_t> wrong = features;
            wrong[between(0, wrong.size() - 1)] = (int32_t)(between(0, 1) ? bag_features + between(0, 1 << 30) : -between(1, 1 << 30));
            check(score(network, ids, wrong) == 1, "a wrong feature seen");
        }
        categorizer_free_network(network);
    }
}

// Bytes of any kind: letters, blanks, UTF-8, halves of it.
static std::string bytes(int64_t most) {
    static const char *const PIECES[] = {"a", "b", "kettle", " ", "  ", "-", "\xC3\xA9", "\xE2\x84\xA2", "\xF0\x9F\x98\x80", "\xE0\xA4\x95"};
    std::string text;
    for (int64_t left = between(0, most); left > 0; left--) {
        if (between(0, 30) == 0)
            text += (char)between(0, 255);
        else
            text += PIECES[between(0, 9)];
    }
    return text;
}

// A text alone gets the same probabilities as among others, and as many ids as the tokenizer returns.
static void fuzz_score(const void *tokenizer, int64_t vocabulary, int64_t features, const std::vector<char> &texts,
                       const std::vector<int32_t> &starts, const std::vector<int64_t> &lengths) {
    const int64_t units = between(1, 20), labels = between(1, 5), dense = between(1, 8), width = features ? between(1, 10) : 0;
    const std::vector<float> inputs = numbers(vocabulary * 4 * units, 1), recurrent = numbers(units * 4 * units, 1),
                             dense_weights = numbers(units * dense, 1), dense_bias = numbers(dense, 1),
                             output_weights = numbers(dense * labels, 1), output_bias = numbers(labels, 1),
                             scales = numbers(features, 0.1f), slopes = numbers(width, 1), output = numbers(width * labels, 0.1f);
    std::vector<int8_t> table(features * width);
    for (int8_t &value : table) value = (int8_t)between(-127, 127);
    const float *input_start = inputs.data(), *recurrent_start = recurrent.data();
    void *network = categorizer_network(vocabulary, units, 1, &input_start, &recurrent_start, dense, dense_weights.data(),
                                        dense_bias.data(), labels, output_weights.data(), output_bias.data(), features, width,
                                        table.data(), scales.data(), slopes.data(), output.data(),
                                        (int)between(0, categorizer_best_instruction_set()));
    check(network != nullptr, "a network");
    const int64_t rows = lengths.size();
    double seconds[2];
    const auto score = [&](const int32_t *from, int64_t count, std::vector<float> &out, std::vector<int32_t> &tokens) {
        std::vector<float> evidence(count);
        std::vector<int32_t> unknown(count);
        out.resize(count * labels);
        tokens.resize(count);
        check(categorizer_score(tokenizer, network, texts.data(), from, count, out.data(), labels, evidence.data(), tokens.data(),
                                unknown.data(), seconds) == 0,
              "scores");
        for (int64_t row = 0; row < count; row++) check(unknown[row] >= 0 && unknown[row] <= std::max(tokens[row], 0), "unknown words");
    };
    std::vector<float> together, alone;
    std::vector<int32_t> tokens, one;
    score(starts.data(), rows, together, tokens);
    for (int64_t row = 0; row < rows; row++) {
        check(tokens[row] == lengths[row], "as many ids");
        score(starts.data() + row, 1, alone, one);
        check(std::memcmp(alone.data(), together.data() + row * labels, labels * sizeof(float)) == 0, "the same alone");
        check(std::isnan(alone[0]) == (tokens[row] <= 0), "no number for a text without ids");
    }
    categorizer_free_network(network);
}

static const char *const MARKUP[] = {"<b>",  "</b>",  "<br",   "<div a='b'>", "<!--",  "<!x>",     "<abcdefghijklmnop>", "<o:p>",
                                     "&amp;", "&nbsp", "&#39;", "&#x41;",      "&#",    "&foo;",    "<style>x</style>",   "<",
                                     "&",     "</",    "&a",    "<b/",         "&lt;b>", "&#12345678;", "&abcdefghijklmnopqrstuvwxyzabcdefghijklmn;"};

static void fuzz_tokenizer() {
    std::string words;
    std::vector<int64_t> word_offsets{0};
    const int64_t count = between(0, 30);
    for (int64_t i = 0; i < count; i++) {
        words += bytes(6);
        word_offsets.push_back(words.size());
    }
    std::vector<uint32_t> characters(between(0, 0x3000));
    for (size_t i = 0; i < characters.size(); i++) {
        const int64_t kind = between(0, 20);
        characters[i] = kind == 0 ? 0xFFFFFFFF : kind < 5 ? 0 : kind < 7 ? (uint32_t)between(1, 0x10FFFF) : (uint32_t)i;
    }
    const int64_t most_tokens = between(1, 20), rows = between(0, 10);
    void *tokenizer = categorizer_tokenizer(words.data(), word_offsets.data(), count, characters.data(), characters.size(),
                                            (int)between(0, 1), between(1, 100), most_tokens, 2, 1);
    check(tokenizer != nullptr, "a tokenizer");
    const int64_t pair_count = count ? between(0, 20) : 0, subword_count = between(0, 30);
    const std::vector<float> idf = numbers(count + 2, 1);
    std::vector<int32_t> pairs(2 * pair_count);
    for (int32_t &id : pairs) id = (int32_t)between(2, count + 1);
    std::string subwords;
    std::vector<int64_t> subword_offsets{0};
    for (int64_t i = 0; i < subword_count; i++) {
        subwords += between(0, 1) ? bytes(3) : "<" + bytes(2);
        subword_offsets.push_back(subwords.size());
    }
    const bool has_bag = between(0, 3) > 0;
    if (has_bag)
        check(categorizer_set_bag(tokenizer, idf.data(), count + 2, 3.0f, pairs.data(), pair_count, subwords.data(),
                                  subword_offsets.data(), subword_count, between(1, 3), between(3, 6), between(1, 40)),
              "a bag");
    std::string texts;
    std::vector<int32_t> starts{0};
    for (int64_t row = 0; row < rows; row++) {
        texts += bytes(30);
        if (between(0, 1)) texts += MARKUP[between(0, std::size(MARKUP) - 1)];
        texts += bytes(30);
        starts.push_back((int32_t)texts.size());
    }
    int64_t room = 0;
    for (int64_t row = 0; row < rows; row++) room += std::min<int64_t>(most_tokens, (starts[row + 1] - starts[row] + 1) / 2);
    // On the heap, in blocks of their exact sizes, so that a byte too far is seen.
    std::vector<char> exact(texts.begin(), texts.end());
    std::vector<int32_t> ids(room);
    std::vector<int64_t> lengths(rows), bag_lengths(rows);
    void *bag = nullptr;
    int64_t bag_size = 0;
    const int64_t found = categorizer_ids(tokenizer, exact.data(), starts.data(), rows, ids.data(), room, lengths.data(),
                                          bag_lengths.data(), &bag, &bag_size);
    check((bag != nullptr) == has_bag, "a bag where there is one");
    if (bag) {
        std::vector<int32_t> features(bag_size);
        std::vector<float> weights(bag_size);
        categorizer_read_bag(bag, features.data(), weights.data());
        for (const int32_t feature : features)
            check(feature >= 2 && feature < count + 2 + pair_count + subword_count, "features of the bag");
        for (const float weight : weights) check(std::isfinite(weight) && weight > 0, "weights");
        for (const int64_t length : bag_lengths) bag_size -= length;
        check(bag_size == 0, "lengths that add up");
    }
    check(found >= 0 && found <= room, "ids within their room");
    fuzz_score(tokenizer, count + 2, has_bag ? count + 2 + pair_count + subword_count : 0, exact, starts, lengths);
    for (int64_t i = 0; i < found; i++) check(ids[i] >= 1 && ids[i] < count + 2, "ids of the vocabulary");
    // Less room than the texts may need: refused, or kept to.
    std::vector<int32_t> tight(room / 2);
    const int64_t fitting = categorizer_ids(tokenizer, exact.data(), starts.data(), rows, tight.data(), room / 2, lengths.data(),
                                            bag_lengths.data(), &bag, &bag_size);
    if (fitting >= 0 && has_bag) {
        std::vector<int32_t> features(bag_size);
        std::vector<float> weights(bag_size);
        categorizer_read_bag(bag, features.data(), weights.data());
    }
    check(fitting >= -1 && fitting <= room / 2, "ids within less room");
    categorizer_free_tokenizer(tokenizer);
}

int main(int, char **arguments) {
    randomness.seed((unsigned)std::atoi(arguments[2]));
    for (int round = std::atoi(arguments[1]); round > 0; round--) {
        fuzz_network();
        fuzz_tokenizer();
    }
    std::puts("ok");
}
