// The LSTM classifier on whole batches of token ids: the engine `native` (lib/model/engines/native.py) calls it through ctypes.
//
// What makes it fast:
// - embedding x kernel + bias is computed beforehand as one row of 4 x units per word, so the input half of a step is
//   a look-up;
// - a few texts of similar length are processed together, and all their sums stay in registers during a whole matrix product;
// - recurrent weights and states are int16 with int32 sums. The weights' scale, one per column, is such that no sum can
//   overflow: the product is exact, the same on every processor, and the rounding before it is 1/32767 of a state.
// - a text leaves the loop at its own end, and the backward direction begins there;
// - many texts go through the last layer together, a block of labels at a time: its weights are read from memory once for all of them.
#include "categorizer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int MOST_ROWS = 4;
// A register of the widest instruction set: data that is laid out for it is aligned to it.
constexpr size_t ALIGNMENT = 64;
// Values of a bag's row that are summed at a time: a cache line, and a multiple of the register width of every instruction set.
constexpr int64_t BAG_BLOCK = 64;
constexpr float STATE_SCALE = 16383.0f;
// Texts that go through the last layer together: for thousands of labels its weights are megabytes, which are read from memory once
// for all of them.
constexpr size_t TEXTS_OF_LAST_LAYER = 256;
// e^-x and e^-2x as powers of two.
constexpr float SIGMOID_EXPONENT = -1.4426950408889634f, TANH_EXPONENT = 2 * SIGMOID_EXPONENT;
// See power_of_two in lstm_steps.inc.
constexpr float LEAST_POWER = -120.0f, GREATEST_POWER = 30.0f, WHOLE = 12582912.0f;
constexpr float POWER_0 = 1.0000026f, POWER_1 = 0.6930038f, POWER_2 = 0.24144304f, POWER_3 = 0.05201095f, POWER_4 = 0.013534444f;

template <class T> struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <class U> Aligned(const Aligned<U> &) {}
    T *allocate(size_t count) { return static_cast<T *>(::operator new(count * sizeof(T), std::align_val_t{ALIGNMENT})); }
    void deallocate(T *from, size_t) { ::operator delete(from, std::align_val_t{ALIGNMENT}); }
    template <class U> bool operator==(const Aligned<U> &) const { return true; }
    template <class U> bool operator!=(const Aligned<U> &) const { return false; }
};
template <class T> using Buffer = std::vector<T, Aligned<T>>;

// The weights of one direction. Units are padded with zeros to a multiple of LANES, and stored in blocks of LANES.
struct Direction {
    int padded_units;
    const float *inputs;      // [word][block][gate][LANES]
    const int16_t *recurrent; // [block][pair of units][gate][LANES][2]
    const float *scales;      // [block][gate][LANES]
};

// The state of the steps of one group of texts; each [row][padded units].
struct Workspace {
    int16_t *states[2];
    float *cells;
    float *outputs;
};

struct InstructionSet {
    int lanes;
    int rows;
    void (*last_outputs)(const Direction &, int rows, const int32_t *const *ids, const int64_t *lengths, bool backward,
                         Workspace &);
    void (*add_product)(const float *values, int64_t count, const float *weights, int64_t width, float *sums);
    void (*add_rows)(const int32_t *rows, const float *weights, int64_t count, const int8_t *table, int64_t width, float *sums);
    void (*logits)(const float *values, int64_t rows, int64_t count, const float *weights, const float *bias, int64_t labels,
                   float *const *to);
    float (*softmax)(float *values, int64_t count, float *sum);
};

// A bag of features next to the LSTM (lib/model/bag.py): the rows of a text's features are summed, and go through their own hidden
// layer.
struct BagTable {
    int64_t features, width;
    const int8_t *table;   // [feature][width]
    const float *scales;   // [feature]
    const float *slopes;   // [width]; for a sum below zero
    const float *output;   // [width][label]
};

// Text i has features[offsets[i]] to features[offsets[i + 1] - 1].
struct Bags {
    const int32_t *features;
    const float *weights;
    const int64_t *offsets;
};

} // namespace

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace {
#define ISA avx2
#define LANES 8
#define ROWS 3
#define MULTIPLY_PAIRS(sum, states, weights) sum += (Ints)_mm256_madd_epi16((__m256i)(states), (__m256i)(weights))
#define BOUNDED(x) (Floats) _mm256_min_ps(_mm256_max_ps(x, all(LEAST_POWER)), all(GREATEST_POWER))
#define FRACTION(x) (x) - (Floats)_mm256_floor_ps(x)
#define SCALED(y, x, r) (Floats)((Ints)(y) + ((Ints)_mm256_cvtps_epi32((x) - (r)) << 23))
#define STORE_ROUNDED(to, x)                                                                                            \
    const __m256i rounded = _mm256_cvtps_epi32(x);                                                                      \
    store(to, _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1)))
#define WIDENED(from) (Ints) _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(from)))
#include "lstm_steps.inc"
} // namespace
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,prefer-vector-width=512")
#endif
namespace {
#define ISA avx512
#define LANES 16
#define ROWS 4
#define MULTIPLY_PAIRS(sum, states, weights) \
    sum = (Ints)_mm512_dpwssd_epi32((__m512i)(sum), (__m512i)(states), (__m512i)(weights))
#define BOUNDED(x) (Floats) _mm512_min_ps(x, all(GREATEST_POWER))
#define FRACTION(x) (Floats) _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF)
#define SCALED(y, x, r) (Floats) _mm512_scalef_ps(y, x)
#define STORE_ROUNDED(to, x) store(to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)))
#define WIDENED(from) (Ints) _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(from)))
#include "lstm_steps.inc"
} // namespace
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

namespace {

#if defined(__x86_64__)
// SSE2, which every x86-64 has.
#define MULTIPLY_PAIRS(sum, states, weights) sum += (Ints)_mm_madd_epi16((__m128i)(states), (__m128i)(weights))
#define BOUNDED(x) (Floats) _mm_min_ps(_mm_max_ps(x, all(LEAST_POWER)), all(GREATEST_POWER))
// A sum with WHOLE has no room for a fraction: it is rounded. The fraction of a whole number may be 1.
#define FRACTION(x) (x) - (((x) - 0.5f + WHOLE) - WHOLE)
#define SCALED(y, x, r) (Floats)((Ints)(y) + ((Ints)_mm_cvtps_epi32((x) - (r)) << 23))
#define STORE_ROUNDED(to, x)                                                                                            \
    const __m128i rounded = _mm_cvtps_epi32(x);                                                                         \
    const int64_t four = _mm_cvtsi128_si64(_mm_packs_epi32(rounded, rounded));                                          \
    store(to, four)
INLINE __m128i four_bytes(const int8_t *from) {
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    const __m128i bytes = _mm_cvtsi32_si128(four), twice = _mm_unpacklo_epi8(bytes, bytes);
    return _mm_srai_epi32(_mm_unpacklo_epi16(twice, twice), 24);
}
#define WIDENED(from) (Ints) four_bytes(from)
#else
typedef int32_t FourInts __attribute__((vector_size(16)));

// Each int32 holds two int16, the first in its lower half, as a little-endian processor stores them.
INLINE FourInts plain_pairs(FourInts states, FourInts weights) {
    return ((states << 16) >> 16) * ((weights << 16) >> 16) + (states >> 16) * (weights >> 16);
}
#define MULTIPLY_PAIRS(sum, states, weights) sum += plain_pairs(states, weights)
#define BOUNDED(x) ((x) < LEAST_POWER ? all(LEAST_POWER) : (x) > GREATEST_POWER ? all(GREATEST_POWER) : (x))
#define FRACTION(x) (x) - (((x) - 0.5f + WHOLE) - WHOLE)
// The conversion truncates: it needs a number above 0, with a half added.
#define SCALED(y, x, r) \
    (Floats)((Ints)(y) + ((__builtin_convertvector((x) - (r) - LEAST_POWER + 0.5f, Ints) + (int)LEAST_POWER) << 23))
typedef int16_t FourShorts __attribute__((vector_size(8)));
#define STORE_ROUNDED(to, x)                                                                                            \
    const Floats away = (x) + ((x) < 0.0f ? all(-0.5f) : all(0.5f));                                                    \
    store(to, __builtin_convertvector(__builtin_convertvector(away, Ints), FourShorts))
typedef int8_t FourBytes __attribute__((vector_size(4)));
#define WIDENED(from) __builtin_convertvector(load<FourBytes>(from), Ints)
#endif
#define ISA plain
#define LANES 4
#define ROWS 2
#include "lstm_steps.inc"

const InstructionSet *const SETS[] = {
    &plain::instruction_set,
#if defined(__x86_64__)
    &avx2::instruction_set,
    &avx512::instruction_set,
#endif
};
const char *const NAMES[] = {"plain", "avx2", "avx512"};

int best_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

class Network {
  public:
    Network(int64_t vocabulary, int64_t units, int64_t directions, const float *const *inputs, const float *const *recurrent,
            int64_t dense, const float *dense_weights, const float *dense_bias, int64_t labels, const float *output_weights,
            const float *output_bias, const BagTable *bag, int instruction_set)
        : set_(*SETS[instruction_set]), vocabulary_(vocabulary), units_(units), dense_(dense), labels_(labels),
          dense_weights_(dense_weights, dense_weights + directions * units * dense), dense_bias_(dense_bias, dense_bias + dense) {
        for (int64_t d = 0; d < directions; d++) add_direction(inputs[d], recurrent[d]);
        if (bag) add_bag(*bag);
        add_output(output_weights, output_bias, bag);
    }

    bool has_bag() const { return bag_width_ > 0; }

    // False if an id is outside the vocabulary, or a feature outside the bag; nothing is written then.
    bool probabilities(const int32_t *ids, const int64_t *offsets, int64_t rows, const Bags &bags, float *out,
                       float *evidence) const {
        if (!all_below(ids + offsets[0], ids + offsets[rows], vocabulary_)) return false;
        if (has_bag() && !all_below(bags.features + bags.offsets[0], bags.features + bags.offsets[rows], bag_features_)) return false;
        std::fill_n(out, rows * labels_, NAN);
        std::fill_n(evidence, rows, NAN);
        const std::vector<Text> texts = longest_first(ids, offsets, rows, bags);
        const size_t values = (size_t)set_.rows * padded_units(), width = units_ * inputs_.size(), into = dense_ + bag_width_;
        Buffer<int16_t> states(2 * values);
        Buffer<float> cells(values), outputs(values), last(set_.rows * width), weights;
        Buffer<float> hidden(std::min(texts.size(), TEXTS_OF_LAST_LAYER + set_.rows) * into);
        std::vector<int64_t> waiting;
        Workspace space{{states.data(), states.data() + values}, cells.data(), outputs.data()};
        std::vector<const Text *> group;
        for (size_t i = 0; i < texts.size(); i++) {
            // Texts with the same ids are next to each other; only the first of them goes through the network.
            if (i == 0 || !same(texts[i], texts[i - 1])) group.push_back(&texts[i]);
            if ((int)group.size() < set_.rows && i + 1 < texts.size()) continue;
            for (const Text *text : group) prefetch_bag(*text);
            last_states(group, space, last.data());
            for (size_t row = 0; row < group.size(); row++) {
                hide(last.data() + row * width, *group[row], hidden.data() + waiting.size() * into, weights);
                waiting.push_back(group[row]->row);
            }
            group.clear();
            if (waiting.size() >= TEXTS_OF_LAST_LAYER) classify(hidden.data(), waiting, out, evidence);
        }
        classify(hidden.data(), waiting, out, evidence);
        for (size_t i = 1; i < texts.size(); i++)
            if (same(texts[i], texts[i - 1])) {
                std::copy_n(out + texts[i - 1].row * labels_, labels_, out + texts[i].row * labels_);
                evidence[texts[i].row] = evidence[texts[i - 1].row];
            }
        return true;
    }

  private:
    int padded_units() const { return (int)((units_ + set_.lanes - 1) / set_.lanes * set_.lanes); }

    // inputs: [vocabulary][gate][units], recurrent: [units][gate][units]; gates in the order i, f, g, o.
    void add_direction(const float *inputs, const float *recurrent) {
        const int64_t padded = padded_units(), lanes = set_.lanes;
        // The position of unit u of a gate in a row of 4 x padded units.
        const auto place = [=](int64_t gate, int64_t u) { return u / lanes * 4 * lanes + gate * lanes + u % lanes; };
        // The steps use exponents of two.
        const auto factor = [](int64_t gate) { return gate == 2 ? TANH_EXPONENT : SIGMOID_EXPONENT; };
        Buffer<float> rows(vocabulary_ * 4 * padded), scales(4 * padded);
        for (int64_t word = 0; word < vocabulary_; word++)
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t u = 0; u < units_; u++)
                    rows[word * 4 * padded + place(gate, u)] = factor(gate) * inputs[(word * 4 + gate) * units_ + u];
        Buffer<int16_t> weights(padded * 4 * padded);
        for (int64_t gate = 0; gate < 4; gate++)
            for (int64_t u = 0; u < units_; u++) {
                double greatest = 0, sum = 0;
                for (int64_t k = 0; k < units_; k++) {
                    const double size = std::fabs(recurrent[(k * 4 + gate) * units_ + u]);
                    greatest = std::max(greatest, size);
                    sum += size;
                }
                if (sum == 0) continue;
                // Neither a weight nor the greatest possible sum, with all states at STATE_SCALE, exceeds its type.
                const double room = 2147483647.0 / STATE_SCALE - 0.5 * (double)units_;
                const double scale = std::min(32767.0 / greatest, room / sum);
                for (int64_t k = 0; k < units_; k++) {
                    const double weight = std::nearbyint(recurrent[(k * 4 + gate) * units_ + u] * scale);
                    const int64_t block = u / lanes, lane = u % lanes;
                    weights[((block * padded / 2 + k / 2) * 4 + gate) * 2 * lanes + 2 * lane + k % 2] = (int16_t)weight;
                }
                scales[place(gate, u)] = factor(gate) * (float)(1.0 / (scale * STATE_SCALE));
            }
        inputs_.push_back(std::move(rows));
        recurrent_.push_back(std::move(weights));
        scales_.push_back(std::move(scales));
    }

    void add_bag(const BagTable &bag) {
        bag_features_ = bag.features;
        // Padded with zeros to whole blocks.
        bag_width_ = (bag.width + BAG_BLOCK - 1) / BAG_BLOCK * BAG_BLOCK;
        bag_table_.assign(bag.features * bag_width_, 0);
        for (int64_t row = 0; row < bag.features; row++)
            std::copy_n(bag.table + row * bag.width, bag.width, bag_table_.begin() + row * bag_width_);
        bag_scales_.assign(bag.scales, bag.scales + bag.features);
        bag_slopes_.assign(bag_width_, 0);
        std::copy_n(bag.slopes, bag.width, bag_slopes_.begin());
    }

    // The last layer as InstructionSet::logits reads it. from_dense, and the bag's output: [width][label].
    void add_output(const float *from_dense, const float *bias, const BagTable *bag) {
        const int64_t block = 2 * set_.lanes, blocks = (labels_ + block - 1) / block, into = dense_ + bag_width_;
        output_weights_.assign(blocks * into * block, 0);
        output_bias_.assign(blocks * block, 0);
        std::copy_n(bias, labels_, output_bias_.begin());
        const auto put = [&](const float *weights, int64_t rows, int64_t behind) {
            for (int64_t k = 0; k < rows; k++)
                for (int64_t j = 0; j < labels_; j++)
                    output_weights_[(j / block * into + behind + k) * block + j % block] = weights[k * labels_ + j];
        };
        put(from_dense, dense_, 0);
        if (bag) put(bag->output, bag->width, dense_);
    }

    struct Text {
        const int32_t *ids;
        int64_t length;
        uint64_t hash;
        int64_t row;
        const int32_t *features;
        const float *weights;
        int64_t feature_count;
    };

    static bool all_below(const int32_t *from, const int32_t *to, int64_t limit) {
        uint32_t greatest = 0;
        for (; from < to; from++) greatest = std::max(greatest, (uint32_t)*from);
        return greatest < limit;
    }

    // Texts with the same ids differ in the parts of their unknown words.
    static bool same(const Text &a, const Text &b) {
        return a.length == b.length && a.hash == b.hash && a.feature_count == b.feature_count &&
               std::equal(a.ids, a.ids + a.length, b.ids) && std::equal(a.features, a.features + a.feature_count, b.features) &&
               std::equal(a.weights, a.weights + a.feature_count, b.weights);
    }

    // The texts that have ids.
    std::vector<Text> longest_first(const int32_t *ids, const int64_t *offsets, int64_t rows, const Bags &bags) const {
        std::vector<Text> texts;
        texts.reserve(rows);
        for (int64_t row = 0; row < rows; row++) {
            Text text{ids + offsets[row], offsets[row + 1] - offsets[row], 0, row, nullptr, nullptr, 0};
            // A hash of a few ids: the same texts must sort together, others may.
            for (int64_t at = 0; at < text.length; at += 1 + text.length / 16)
                text.hash = (text.hash ^ (uint64_t)text.ids[at]) * 0x9E3779B97F4A7C15u;
            if (has_bag()) {
                text.features = bags.features + bags.offsets[row];
                text.weights = bags.weights + bags.offsets[row];
                text.feature_count = bags.offsets[row + 1] - bags.offsets[row];
                text.hash = (text.hash ^ (uint64_t)text.feature_count) * 0x9E3779B97F4A7C15u;
            }
            if (text.length > 0) texts.push_back(text);
        }
        std::sort(texts.begin(), texts.end(), [](const Text &a, const Text &b) {
            if (a.length != b.length) return a.length > b.length;
            return a.hash != b.hash ? a.hash < b.hash : a.row < b.row;
        });
        return texts;
    }

    // A text's rows of the bag's table are scattered over megabytes: they are prefetched while the LSTM runs.
    void prefetch_bag(const Text &text) const {
        for (int64_t i = 0; i < text.feature_count; i++)
            for (int64_t at = 0; at < bag_width_; at += BAG_BLOCK)
                __builtin_prefetch(bag_table_.data() + text.features[i] * bag_width_ + at, 0, 2);
    }

    // to: [row][direction][units]
    void last_states(const std::vector<const Text *> &group, Workspace &space, float *to) const {
        const int32_t *ids[MOST_ROWS];
        int64_t lengths[MOST_ROWS];
        for (size_t row = 0; row < group.size(); row++) {
            ids[row] = group[row]->ids;
            lengths[row] = group[row]->length;
        }
        for (size_t d = 0; d < inputs_.size(); d++) {
            const Direction lstm{padded_units(), inputs_[d].data(), recurrent_[d].data(), scales_[d].data()};
            set_.last_outputs(lstm, (int)group.size(), ids, lengths, d == 1, space);
            for (size_t row = 0; row < group.size(); row++)
                std::copy_n(space.outputs + row * padded_units(), units_, to + (row * inputs_.size() + d) * units_);
        }
    }

    // The input of the last layer for a text: the dense layer, then the bag.
    void hide(const float *states, const Text &text, float *hidden, Buffer<float> &weights) const {
        std::copy(dense_bias_.begin(), dense_bias_.end(), hidden);
        set_.add_product(states, (int64_t)inputs_.size() * units_, dense_weights_.data(), dense_, hidden);
        for (int64_t j = 0; j < dense_; j++) hidden[j] = std::max(hidden[j], 0.0f);
        if (!has_bag()) return;
        float *bag = hidden + dense_;
        std::fill_n(bag, bag_width_, 0.0f);
        weights.resize(text.feature_count);
        for (int64_t i = 0; i < text.feature_count; i++) weights[i] = text.weights[i] * bag_scales_[text.features[i]];
        set_.add_rows(text.features, weights.data(), text.feature_count, bag_table_.data(), bag_width_, bag);
        for (int64_t j = 0; j < bag_width_; j++) bag[j] = bag[j] > 0.0f ? bag[j] : bag_slopes_[j] * bag[j];
    }

    // Writes the probabilities of the waiting texts, and their evidence, the logarithm of the sum of the exponentials that the probabilities
    // are shares of; no text waits afterwards.
    void classify(const float *hidden, std::vector<int64_t> &waiting, float *out, float *evidence) const {
        std::vector<float *> to;
        for (const int64_t row : waiting) to.push_back(out + row * labels_);
        if (to.empty()) return;
        const int64_t into = dense_ + bag_width_, rows = (int64_t)to.size();
        set_.logits(hidden, rows, into, output_weights_.data(), output_bias_.data(), labels_, to.data());
        for (size_t i = 0; i < to.size(); i++) {
            float sum;
            const float greatest = set_.softmax(to[i], labels_, &sum);
            evidence[waiting[i]] = greatest + std::log(sum);
        }
        waiting.clear();
    }

    const InstructionSet &set_;
    int64_t vocabulary_, units_, dense_, labels_;
    std::vector<float> dense_weights_, dense_bias_;
    Buffer<float> output_weights_, output_bias_;
    std::vector<Buffer<float>> inputs_, scales_;
    std::vector<Buffer<int16_t>> recurrent_;
    int64_t bag_features_ = 0, bag_width_ = 0;
    Buffer<int8_t> bag_table_;
    std::vector<float> bag_scales_, bag_slopes_;
};

} // namespace

int categorizer_interface() { return 2; }
int categorizer_best_instruction_set() { return best_instruction_set(); }

const char *categorizer_instruction_set_name(int number) { return number >= 0 && number <= 2 ? NAMES[number] : nullptr; }

void *categorizer_network(int64_t vocabulary, int64_t units, int64_t directions, const float *const *inputs,
                          const float *const *recurrent, int64_t dense, const float *dense_weights, const float *dense_bias,
                          int64_t labels, const float *output_weights, const float *output_bias, int64_t bag_features,
                          int64_t bag_width, const int8_t *bag_table, const float *bag_scales, const float *bag_slopes,
                          const float *bag_output, int instruction_set) {
    if (instruction_set < 0 || instruction_set > best_instruction_set()) return nullptr;
    const BagTable bag{bag_features, bag_width, bag_table, bag_scales, bag_slopes, bag_output};
    try {
        return new Network(vocabulary, units, directions, inputs, recurrent, dense, dense_weights, dense_bias, labels,
                           output_weights, output_bias, bag_width > 0 ? &bag : nullptr, instruction_set);
    } catch (const std::exception &) {
        return nullptr;
    }
}

void categorizer_free_network(void *network) { delete static_cast<Network *>(network); }

int categorizer_probabilities(const void *network, const int32_t *ids, const int64_t *offsets, int64_t rows,
                              const int32_t *features, const float *feature_weights, const int64_t *bag_offsets, float *out,
                              float *evidence) {
    const Bags bags{features, feature_weights, bag_offsets};
    try {
        return static_cast<const Network *>(network)->probabilities(ids, offsets, rows, bags, out, evidence) ? 0 : 1;
    } catch (const std::exception &) {
        return 2;
    }
}
