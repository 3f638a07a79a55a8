// The functions that lib/model/native.py calls through ctypes. None of them throws.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// The number of these declarations, which lib/model/native.py compares with its own: to be raised whenever one of them changes, since a
// library that was built before would be called with other arguments.
int categorizer_interface();

// --- Texts to ids: tokens.cpp ---

// Word i, whose id is first_id + i, is words[offsets[i]] to words[offsets[i + 1] - 1], in UTF-8. characters: what
// each character below `known` becomes: the one to use for it, 0 for one that separates words, 0xFFFFFFFF for one that makes its text
// foreign. markup: whether texts are read without their HTML. Null if memory does not suffice.
void *categorizer_tokenizer(const char *words, const int64_t *offsets, int64_t count, const uint32_t *characters, int64_t known,
                            int markup, int64_t most_characters, int64_t most_tokens, int32_t first_id, int32_t unknown_id);

// Gives the tokenizer a bag of features, before its first text. idf: one for each id; pairs: ids, two by two. False if memory does
// not suffice.
int categorizer_set_bag(void *tokenizer, const float *idf, int64_t ids, float unknown_idf, const int32_t *pairs, int64_t pair_count,
                        const char *subwords, const int64_t *subword_offsets, int64_t subword_count, int64_t shortest,
                        int64_t longest, int64_t word_characters);

void categorizer_free_tokenizer(void *tokenizer);

// Text i is texts[starts[i]] to texts[starts[i + 1] - 1], in UTF-8. Its ids follow those of text i - 1 in `ids`, which
// holds `room` of them; their number goes to lengths[i], -1 for a foreign text, which leaves none. With a bag, the number of
// its features goes to bag_lengths[i], and *bag is to be read and freed by categorizer_read_bag.
// Returns the number of ids, -1 if `ids` has too little room for them, -2 if memory does not suffice.
int64_t categorizer_ids(const void *tokenizer, const char *texts, const int32_t *starts, int64_t rows, int32_t *ids, int64_t room,
                        int64_t *lengths, int64_t *bag_lengths, void **bag, int64_t *bag_size);

// Moves what categorizer_ids left of its bag to arrays of that size.
void categorizer_read_bag(void *bag, int32_t *features, float *weights);

// --- Ids to probabilities: lstm.cpp ---

// The instruction sets are numbered from the plainest up to this processor's best.
int categorizer_best_instruction_set();
const char *categorizer_instruction_set_name(int number);

// Null if memory does not suffice or the instruction set is not this processor's. All numbers have to be finite.
// bag_width: 0 without a bag; bag_output: [bag_width][labels].
void *categorizer_network(int64_t vocabulary, int64_t units, int64_t directions, const float *const *inputs,
                          const float *const *recurrent, int64_t dense, const float *dense_weights, const float *dense_bias,
                          int64_t labels, const float *output_weights, const float *output_bias, int64_t bag_features,
                          int64_t bag_width, const int8_t *bag_table, const float *bag_scales, const float *bag_slopes,
                          const float *bag_output, int instruction_set);

void categorizer_free_network(void *network);

// Text i is ids[offsets[i]] to ids[offsets[i + 1] - 1], with features from bag_offsets[i] on likewise, where the network has
// a bag; out: [rows][labels]; evidence: [rows], the logarithm of the sum of the exponentials of a text's logits. Both are NaN
// for a text without ids.
// Returns 0, 1 if an id or a feature is outside the network's, 2 if memory does not suffice.
int categorizer_probabilities(const void *network, const int32_t *ids, const int64_t *offsets, int64_t rows,
                              const int32_t *features, const float *feature_weights, const int64_t *bag_offsets, float *out,
                              float *evidence);

// --- Texts to probabilities: tokens.cpp ---

// Both halves, a few texts at a time. tokens: [rows], ids of each text, -1 for a foreign one, whose probabilities are NaN;
// unknown_tokens: [rows]; seconds: [2], what each half took. The network has `labels` labels, and a bag where the tokenizer
// has one. Returns what categorizer_probabilities returns.
int categorizer_score(const void *tokenizer, const void *network, const char *texts, const int32_t *starts, int64_t rows,
                      float *out, int64_t labels, float *evidence, int32_t *tokens, int32_t *unknown_tokens, double *seconds);
}
#pragma GCC visibility pop
