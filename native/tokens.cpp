// Texts to token ids, and to the features of lib/model/bag.py: what lib/model/text.py does with pyarrow, for texts whose characters can be
// looked at one by one. A table says what each character becomes; a text with a character that is not in it is left to pyarrow.
//
// What makes it fast:
// - a text is first translated, so that its bytes between words are zero: where words begin and end is then read from
//   a mask of 64 bytes;
// - all words of a text are hashed before the first is looked up, so that the slots are prefetched from memory;
// - most pairs of words are not a feature, and a small table of bits rules out nearly all of those.
#include "categorizer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace {

// Entries of the table of characters.
constexpr uint32_t SEPARATOR = 0;
constexpr uint32_t FOREIGN = 0xFFFFFFFF;

constexpr int32_t NOT_FOUND = -1;
// In a pair: the edge before a text's first word and after its last.
constexpr int32_t EDGE = 0;

// Words are hashed in chunks of eight bytes. The bytes after a word's end have to be readable, and are masked.
constexpr size_t CHUNK = 8;
// Bytes whose mask is computed at a time.
constexpr size_t BLOCK = 64;
// Texts that are turned into ids before they go through the network: their data stays in the cache meanwhile.
constexpr int64_t TEXTS_AT_A_TIME = 256;

uint64_t chunk_of(const char *word, size_t length) {
    uint64_t chunk;
    std::memcpy(&chunk, word, CHUNK);
    return length < CHUNK ? chunk & ~(~0ull << 8 * length) : chunk;
}

uint64_t hash_of(const char *word, size_t length) {
    uint64_t hash = length;
    size_t at = 0;
    do {
        hash = (hash ^ chunk_of(word + at, length - at)) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
        at += CHUNK;
    } while (at < length);
    return hash;
}

// The bytes that are not zero, the first as the lowest bit.
uint64_t mask_of(const char *block) {
    uint64_t mask = 0;
#if defined(__SSE2__)
    for (size_t at = 0; at < BLOCK; at += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(block + at));
        mask |= (uint64_t)(uint16_t)~_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())) << at;
    }
#else
    for (size_t at = 0; at < BLOCK; at++) mask |= (uint64_t)(block[at] != 0) << at;
#endif
    return mask;
}

class Vocabulary {
  public:
    // Word i is words[offsets[i]] to words[offsets[i + 1] - 1], in UTF-8.
    Vocabulary(const char *words, const int64_t *offsets, int64_t count) : words_(words, words + offsets[count]) {
        // The last word's last chunk is read whole.
        words_.resize(words_.size() + CHUNK);
        starts_.assign(offsets, offsets + count + 1);
        size_t slots = 16;
        while (2 * slots < 3 * (size_t)count) slots *= 2;
        slots_.assign(slots, Slot{0, 0, NOT_FOUND});
        for (int64_t i = 0; i < count; i++) {
            const char *word = words_.data() + starts_[i];
            const size_t length = starts_[i + 1] - starts_[i];
            longest_ = std::max(longest_, length);
            size_t at = hash_of(word, length) & (slots - 1);
            while (slots_[at].word != NOT_FOUND) at = (at + 1) & (slots - 1);
            slots_[at] = {chunk_of(word, length), (uint32_t)length, (int32_t)i};
        }
    }

    size_t longest() const { return longest_; }

    void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }

    // The word's number. `hash`: hash_of it.
    int32_t find(const char *word, size_t length, uint64_t hash) const {
        const size_t mask = slots_.size() - 1;
        const uint64_t chunk = chunk_of(word, length);
        for (size_t at = hash & mask; slots_[at].word != NOT_FOUND; at = (at + 1) & mask) {
            const Slot &slot = slots_[at];
            if (slot.chunk == chunk && slot.length == length &&
                (length <= CHUNK || std::memcmp(words_.data() + starts_[slot.word], word, length) == 0))
                return slot.word;
        }
        return NOT_FOUND;
    }

  private:
    // The first chunk is stored here: most words are no longer, and are found by one memory access.
    struct Slot {
        uint64_t chunk;
        uint32_t length;
        int32_t word;
    };
    std::vector<char> words_;
    std::vector<int64_t> starts_;
    std::vector<Slot> slots_;
    size_t longest_ = 0;
};

// A word in a translated text. `hash`: only of one that is short enough to be known.
struct Word {
    const char *from;
    size_t length;
    uint64_t hash;
};

// The features of texts, one text after another, each with its weight.
struct Features {
    std::vector<int32_t> features;
    std::vector<float> weights;
};

// Which features a text has, and their weights; see lib/model/bag.py.
class Bag {
  public:
    // Features: the ids of words, of which there are `ids`; then the pairs; then the subwords.
    Bag(const float *idf, int64_t ids, float unknown_idf, const int32_t *pairs, int64_t pair_count, const char *subwords,
        const int64_t *subword_offsets, int64_t subword_count, int64_t shortest, int64_t longest, int64_t word_characters)
        : unknown_square_(unknown_idf * unknown_idf), unknown_idf_(unknown_idf), first_subword_(ids + pair_count),
          subwords_(subwords, subword_offsets, subword_count), shortest_(shortest), longest_(longest),
          word_characters_(word_characters) {
        for (int64_t i = 0; i < ids; i++) squares_.push_back(idf[i] * idf[i]);
        for (size_t i = 0; i < often_.size(); i++) often_[i] = 1.0 + std::log(std::max<double>(i, 1));
        size_t slots = 16;
        while (2 * slots < 3 * (size_t)pair_count) slots *= 2;
        pairs_.assign(slots, Pair{NO_PAIR, 0});
        size_t bits = 64;
        while (bits < 16 * (size_t)pair_count) bits *= 2;
        perhaps_.assign(bits / 64, 0);
        for (int64_t i = 0; i < pair_count; i++) {
            const uint64_t key = key_of(pairs[2 * i], pairs[2 * i + 1]), hash = hash_of_key(key);
            size_t at = hash & (slots - 1);
            while (pairs_[at].key != NO_PAIR) at = (at + 1) & (slots - 1);
            pairs_[at] = {key, (int32_t)(ids + i)};
            const size_t bit = (hash >> 32) & (bits - 1);
            perhaps_[bit / 64] |= 1ull << bit % 64;
        }
    }

  private:
    struct Pair {
        uint64_t key;
        int32_t feature;
    };
    struct Candidate {
        uint64_t key, hash;
    };
    // An unknown word, which occurs `count` times, and where the features of its subwords are.
    struct Parts {
        uint64_t word;
        size_t first, end;
        int32_t count;
    };

  public:
    // The working memory of one thread while it goes through texts of at most `most` words.
    struct Work {
        Work(const Bag &bag, size_t most)
            : places(bag.first_subword_, 0), features(2 * most + 1), counts(2 * most + 1), candidates(most + 1),
              subwords((bag.word_characters_ + 2) * (bag.longest_ - bag.shortest_ + 1)),
              marked(4 * bag.word_characters_ + 2 + CHUNK), ends(bag.word_characters_ + 3) {}
        // Where each word and pair was last put among a text's features.
        std::vector<uint32_t> places;
        // The distinct words and pairs of a text, `size` of them, and how often it has each.
        std::vector<int32_t> features, counts;
        size_t size = 0;
        std::vector<Candidate> candidates;
        // Its unknown words, and the features of their subwords.
        std::vector<Parts> parts;
        std::vector<int32_t> part_features;
        std::vector<Word> subwords;
        // A word between the marks of its ends, and where each of its characters begins and the last ends.
        std::vector<char> marked;
        std::vector<uint32_t> ends;
    };

    // Adds a text's features to `to` and returns their number. ids: those of its words, which are `words`.
    int64_t add(const Word *words, const int32_t *ids, int64_t count, int32_t unknown_id, Work &work, Features &to) const {
        work.size = 0;
        work.parts.clear();
        work.part_features.clear();
        for (int64_t i = 0; i < count; i++) {
            if (ids[i] != unknown_id)
                add_one(work, ids[i]);
            else
                add_unknown(work, words[i]);
        }
        double sum = 0;
        for (size_t at = 0; at < work.size; at++) {
            const double often = often_of(work.counts[at]);
            sum += squares_[work.features[at]] * often * often;
        }
        for (const Parts &parts : work.parts) sum += unknown_square_ * often_of(parts.count) * often_of(parts.count);
        const double scale = 1 / std::sqrt(std::max(sum, 1e-12));
        add_pairs(ids, count, unknown_id, work);
        const size_t first = to.features.size(), all = work.size + work.part_features.size();
        to.features.insert(to.features.end(), work.features.begin(), work.features.begin() + work.size);
        to.features.insert(to.features.end(), work.part_features.begin(), work.part_features.end());
        to.weights.resize(first + all);
        float *weights = to.weights.data() + first;
        for (size_t at = 0; at < work.size; at++) weights[at] = (float)(often_of(work.counts[at]) * scale);
        weights += work.size;
        for (const Parts &parts : work.parts) {
            const double subwords = (double)std::max<size_t>(parts.end - parts.first, 1);
            std::fill(weights + parts.first, weights + parts.end,
                      (float)(unknown_idf_ * often_of(parts.count) / std::sqrt(subwords) * scale));
        }
        return (int64_t)all;
    }

  private:
    static constexpr uint64_t NO_PAIR = ~0ull;

    // tf of a feature that a text has `count` times.
    double often_of(int32_t count) const { return count < (int32_t)often_.size() ? often_[count] : 1.0 + std::log((double)count); }

    // Without a branch: no processor can predict whether a text has had a word before.
    static void add_one(Work &work, int32_t feature) {
        uint32_t *place = &work.places[feature];
        int32_t *features = work.features.data(), *counts = work.counts.data();
        // A place that another text has left may belong to another feature.
        const size_t old = *place < work.size ? *place : 0;
        const bool seen = (old < work.size) & (features[old] == feature);
        const size_t at = seen ? old : work.size;
        features[at] = feature;
        counts[at] = (seen ? counts[at] : 0) + 1;
        *place = (uint32_t)at;
        work.size += !seen;
    }

    // The pairs of neighbours; a text's first and last word have EDGE next to them.
    void add_pairs(const int32_t *ids, int64_t count, int32_t unknown_id, Work &work) const {
        if (count == 0) return;
        const size_t last_slot = pairs_.size() - 1, last_bit = 64 * perhaps_.size() - 1;
        const uint64_t *perhaps = perhaps_.data();
        const Pair *pairs = pairs_.data();
        Candidate *candidates = work.candidates.data();
        size_t found = 0;
        int32_t before = EDGE;
        for (int64_t i = 0; i <= count; i++) {
            const int32_t id = i < count ? ids[i] : EDGE;
            const uint64_t key = key_of(before, id), hash = hash_of_key(key);
            const size_t bit = (hash >> 32) & last_bit;
            candidates[found] = {key, hash};
            found += (perhaps[bit / 64] >> bit % 64 & 1) & (before != unknown_id) & (id != unknown_id);
            before = id;
        }
        for (size_t i = 0; i < found; i++) __builtin_prefetch(&pairs[candidates[i].hash & last_slot]);
        for (size_t i = 0; i < found; i++)
            for (size_t at = candidates[i].hash & last_slot; pairs[at].key != NO_PAIR; at = (at + 1) & last_slot)
                if (pairs[at].key == candidates[i].key) {
                    add_one(work, pairs[at].feature);
                    break;
                }
    }

    void add_unknown(Work &work, const Word &word) const {
        const int64_t characters = mark(work, word);
        const char *marked = work.marked.data();
        const uint32_t *ends = work.ends.data();
        const uint64_t hash = hash_of(marked, ends[characters]);
        for (Parts &parts : work.parts)
            if (parts.word == hash) {
                parts.count++;
                return;
            }
        Word *subwords = work.subwords.data();
        size_t count = 0;
        for (int64_t n = shortest_; n <= longest_; n++)
            for (int64_t i = 0; i + n <= characters; i++) {
                const char *from = marked + ends[i];
                const size_t bytes = ends[i + n] - ends[i];
                const uint64_t hash = hash_of(from, bytes);
                subwords_.prefetch(hash);
                subwords[count++] = {from, bytes, hash};
            }
        const size_t first = work.part_features.size();
        for (size_t i = 0; i < count; i++) {
            const int32_t found = subwords_.find(subwords[i].from, subwords[i].length, subwords[i].hash);
            if (found != NOT_FOUND) work.part_features.push_back((int32_t)(first_subword_ + found));
        }
        work.parts.push_back({hash, first, work.part_features.size(), 1});
    }

    static uint64_t key_of(int32_t first, int32_t second) { return (uint64_t)(uint32_t)first << 32 | (uint32_t)second; }

    static uint64_t hash_of_key(uint64_t key) {
        key *= 0x9E3779B97F4A7C15u;
        key ^= key >> 29;
        key *= 0xBF58476D1CE4E5B9u;
        return key ^ key >> 32;
    }

    // Fills `marked` and `ends`, and returns the number of characters, including the marks.
    int64_t mark(Work &work, const Word &word) const {
        char *marked = work.marked.data();
        uint32_t *ends = work.ends.data(), size = 1;
        int64_t characters = 1;
        marked[0] = '<';
        ends[0] = 0;
        ends[1] = 1;
        size_t at = 0;
        while (at < word.length && characters <= word_characters_) {
            do marked[size++] = word.from[at++];
            while (at < word.length && ((unsigned char)word.from[at] & 0xC0) == 0x80);
            ends[++characters] = size;
        }
        if (at == word.length) {
            marked[size++] = '>';
            ends[++characters] = size;
        }
        return characters;
    }

    // The square of each word's idf.
    std::vector<float> squares_;
    std::array<double, 256> often_;
    double unknown_square_, unknown_idf_;
    int64_t first_subword_;
    std::vector<Pair> pairs_;
    // A bit for each of some hashes: no pair has a hash whose bit is 0.
    std::vector<uint64_t> perhaps_;
    Vocabulary subwords_;
    int64_t shortest_, longest_, word_characters_;
};

// --- HTML, as lib/model/markup.py ---

// In the order of their letters.
constexpr std::string_view TAGS[] = {
    "a", "abbr", "b", "big", "blockquote", "body", "br", "center", "code", "col", "colgroup", "dd", "del", "div", "dl", "dt", "em",
    "font", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "i", "iframe", "img", "input",
    "ins", "label", "li", "link", "main", "meta", "nav", "o:p", "ol", "option", "p", "pre", "s", "script", "section", "select",
    "small", "source", "span", "strike", "strong", "style", "sub", "sup", "svg", "table", "tbody", "td", "tfoot", "th", "thead",
    "title", "tr", "u", "ul", "video",
};

struct Entity {
    std::string_view name, character;
};

// The most frequent ones. A text with another is foreign.
constexpr Entity ENTITIES[] = {{"amp", "&"},   {"nbsp", "\xC2\xA0"}, {"lt", "<"},   {"gt", ">"},  {"quot", "\""},
                               {"apos", "'"},  {"#39", "'"},         {"#039", "'"}, {"#34", "\""}, {"#38", "&"},
                               {"#160", "\xC2\xA0"}};
// The longest name between & and ;.
constexpr size_t LONGEST_ENTITY = 32;
constexpr size_t LONGEST_TAG = 10;

bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
bool is_letter(unsigned char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }
bool is_blank(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'; }

bool may_have_markup(const unsigned char *text, const unsigned char *end) {
    return text < end && (std::memchr(text, '<', end - text) || std::memchr(text, '&', end - text));
}

// The length of the name between & and ; at the beginning of `text`; 0 if it is no entity.
size_t entity_at(const unsigned char *text, const unsigned char *end) {
    const unsigned char *at = text;
    const auto run = [&](auto is, ptrdiff_t least, ptrdiff_t most) {
        const unsigned char *first = at;
        while (at < end && at - first <= most && is(*at)) at++;
        return at - first >= least && at - first <= most && at < end && *at == ';' ? (size_t)(at - text) : 0;
    };
    if (at == end) return 0;
    if (is_letter(*at)) {
        at++;
        return run([](unsigned char c) { return is_letter(c) || is_digit(c); }, 1, LONGEST_ENTITY - 1);
    }
    if (*at++ != '#' || at == end) return 0;
    if (*at != 'x' && *at != 'X') return run(is_digit, 1, 7);
    at++;
    return run([](unsigned char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }, 1, 6);
}

// Where the tag that begins with the < at `text` ends, null if it is none. hidden: whether its element may contain what is no text.
const unsigned char *tag_end(const unsigned char *text, const unsigned char *end, bool &hidden) {
    const unsigned char *at = text + 1;
    hidden = false;
    if (at < end && *at != '!') {
        if (*at == '/') at++;
        char name[LONGEST_TAG + 1];
        size_t length = 0;
        for (; at < end && length <= LONGEST_TAG && (is_letter(*at) || is_digit(*at) || *at == ':'); at++)
            name[length++] = is_letter(*at) ? (char)(*at | 0x20) : (char)*at;
        const std::string_view found(name, length);
        if (!std::binary_search(std::begin(TAGS), std::end(TAGS), found)) return nullptr;
        hidden = found == "style" || found == "script";
        if (at == end || (*at != '>' && *at != '/' && !is_blank(*at))) return nullptr;
    }
    while (at < end && *at != '<' && *at != '>') at++;
    return at < end && *at == '>' ? at + 1 : nullptr;
}

// The text without its HTML in `plain`. False for a text that is left to lib/model/markup.py.
bool remove_markup(const unsigned char *text, const unsigned char *end, std::vector<unsigned char> &plain) {
    plain.clear();
    while (text < end) {
        const size_t length = *text == '&' ? entity_at(text + 1, end) : 0;
        if (length == 0) {
            plain.push_back(*text++);
            continue;
        }
        const std::string_view name(reinterpret_cast<const char *>(text + 1), length);
        const auto of = std::find_if(std::begin(ENTITIES), std::end(ENTITIES), [&](const Entity &one) { return one.name == name; });
        if (of == std::end(ENTITIES)) return false;
        plain.insert(plain.end(), of->character.begin(), of->character.end());
        text += length + 2;
    }
    // Tags become a blank each, in place.
    unsigned char *to = plain.data();
    const unsigned char *from = plain.data(), *const last = from + plain.size();
    while (from < last) {
        bool hidden = false;
        const unsigned char *after = *from == '<' ? tag_end(from, last, hidden) : nullptr;
        if (hidden) return false;
        *to++ = after ? ' ' : *from;
        from = after ? after : from + 1;
    }
    plain.resize(to - plain.data());
    return true;
}

class Tokenizer {
  public:
    Tokenizer(const char *words, const int64_t *offsets, int64_t count, const uint32_t *characters, int64_t known, bool markup,
              int64_t most_characters, int64_t most_tokens, int32_t first_id, int32_t unknown_id)
        : vocabulary_(words, offsets, count), characters_(characters, characters + known), markup_(markup), most_characters_(most_characters),
          // Words and what separates them alternate; so this is room for as many as a text can have.
          most_tokens_(std::min(most_tokens, (most_characters + 1) / 2)), first_id_(first_id), unknown_id_(unknown_id) {
        for (size_t i = 0; i < 0x80; i++)
            ascii_[i] = i < characters_.size() && characters_[i] < 0x80 ? (unsigned char)characters_[i] : UNUSUAL;
        all_usual_ = std::find(std::begin(ascii_), std::end(ascii_), UNUSUAL) == std::end(ascii_);
    }

    ~Tokenizer() { delete spare_.load(); }

    // The working memory of one thread while it goes through texts.
    struct Work {
        explicit Work(const Tokenizer &of) : words(of.most_tokens_), bag(of.bag_ ? new Bag::Work(*of.bag_, of.most_tokens_) : nullptr) {}
        std::vector<Word> words;
        // The translated text. It keeps its own size, since clearing it would take longer than filling it.
        std::unique_ptr<char[]> plain;
        size_t room = 0;
        // A text without its HTML.
        std::vector<unsigned char> plain_text;
        std::unique_ptr<Bag::Work> bag;
    };

    // Working memory of this tokenizer, while it is alive; that of an earlier thread, if no other uses it.
    class Borrowed {
      public:
        explicit Borrowed(const Tokenizer &of) : of_(of), work_(of.spare_.exchange(nullptr)) {
            if (!work_) work_.reset(new Work(of));
        }
        ~Borrowed() { delete of_.spare_.exchange(work_.release()); }
        Work &operator*() const { return *work_; }

      private:
        const Tokenizer &of_;
        std::unique_ptr<Work> work_;
    };

    // Writes at most most_tokens ids from `ids` on and returns their number, or -1 if a foreign character comes before the
    // end of the last of them. What follows it cannot change them. With a bag, the text's features are added to `features`;
    // a foreign text has none.
    int64_t ids_of(const unsigned char *text, const unsigned char *end, Work &work, int32_t *ids, Features &features,
                   int64_t &feature_count) const {
        feature_count = 0;
        end = cut(text, end);
        if (markup_ && may_have_markup(text, end)) {
            if (!remove_markup(text, end, work.plain_text)) return -1;
            text = work.plain_text.data();
            end = text + work.plain_text.size();
        }
        const int64_t count = words_of(text, end, work);
        if (count < 0) return -1;
        for (int64_t i = 0; i < count; i++) {
            const Word &word = work.words[i];
            const int32_t found =
                word.length <= vocabulary_.longest() ? vocabulary_.find(word.from, word.length, word.hash) : NOT_FOUND;
            ids[i] = found == NOT_FOUND ? unknown_id_ : first_id_ + found;
        }
        if (bag_) feature_count = bag_->add(work.words.data(), ids, count, unknown_id_, *work.bag, features);
        return count;
    }

    // Ids that a text of that many bytes can have: words and what separates them alternate.
    int64_t most_ids(int64_t bytes) const { return std::min(most_tokens_, (bytes + 1) / 2); }

    int32_t unknown_id() const { return unknown_id_; }
    bool has_bag() const { return bag_ != nullptr; }
    void set_bag(std::unique_ptr<Bag> bag) {
        delete spare_.exchange(nullptr);
        bag_ = std::move(bag);
    }

  private:
    // In `ascii_`: to be looked up in `characters_`.
    static constexpr unsigned char UNUSUAL = 0xFF;

    // A text while it is translated.
    struct Translation {
        const unsigned char *at, *end;
        char *plain;
        size_t size;
        // Whether it ends at a foreign character.
        bool foreign;
    };

    // Fills work.words and returns their number; -1 for a foreign text.
    int64_t words_of(const unsigned char *text, const unsigned char *end, Work &work) const {
        // A character of one byte becomes one of four at most. Whole blocks and chunks are read from any position on.
        const size_t room = 4 * (size_t)(end - text) + 2 * BLOCK;
        if (work.room < room) {
            work.plain.reset(new char[room]);
            work.room = room;
        }
        Translation of{text, end, work.plain.get(), 0, false};
        int64_t count = 0;
        size_t start = 0;
        uint64_t inside = 0;
        for (size_t done = 0; count < most_tokens_; done += BLOCK) {
            translate(of, done + BLOCK);
            const size_t fresh = of.size > done ? std::min(of.size - done, BLOCK) : 0;
            if (fresh < BLOCK) std::memset(of.plain + done + fresh, 0, BLOCK - fresh);
            const uint64_t letters = mask_of(of.plain + done);
            uint64_t edges = letters ^ (letters << 1 | inside);
            inside = letters >> (BLOCK - 1);
            // No word ends at a foreign character.
            if (of.foreign && fresh < BLOCK) edges &= ~(~0ull << fresh);
            for (; edges && count < most_tokens_; edges &= edges - 1) {
                const size_t edge = done + (size_t)__builtin_ctzll(edges);
                if (of.plain[edge]) {
                    start = edge;
                    continue;
                }
                Word &word = work.words[count++];
                word = {of.plain + start, edge - start, 0};
                if (word.length > vocabulary_.longest()) continue;
                word.hash = hash_of(word.from, word.length);
                vocabulary_.prefetch(word.hash);
            }
            if (fresh < BLOCK) return of.foreign && count < most_tokens_ ? -1 : count;
        }
        return count;
    }

    // Continues until there are `size` bytes, or the text ends.
    void translate(Translation &of, size_t size) const {
        while (of.size < size && of.at < of.end) {
            uint64_t chunk = ~0ull;
            if (all_usual_ && of.end - of.at >= (ptrdiff_t)CHUNK) std::memcpy(&chunk, of.at, CHUNK);
            if (!(chunk & 0x8080808080808080u)) {
                for (size_t i = 0; i < CHUNK; i++) of.plain[of.size + i] = (char)ascii_[of.at[i]];
                of.at += CHUNK;
                of.size += CHUNK;
                continue;
            }
            const unsigned char plain = *of.at < 0x80 ? ascii_[*of.at] : UNUSUAL;
            if (plain != UNUSUAL) {
                of.plain[of.size++] = (char)plain;
                of.at++;
                continue;
            }
            uint32_t character = decode(of.at, of.end);
            character = character < characters_.size() ? characters_[character] : FOREIGN;
            if (character == FOREIGN) {
                of.foreign = true;
                of.end = of.at;
                return;
            }
            if (character == SEPARATOR) of.plain[of.size++] = 0;
            if (character != SEPARATOR) of.size += encode(character, of.plain + of.size);
        }
    }

    // The end of the first most_characters of a text.
    const unsigned char *cut(const unsigned char *text, const unsigned char *end) const {
        if (end - text <= most_characters_) return end;
        for (int64_t left = most_characters_; text < end; text++)
            if ((*text & 0xC0) != 0x80 && left-- == 0) break;
        return text;
    }

    // A character of several bytes; FOREIGN if these are not UTF-8, except that a form that is too long is read as what it spells, as by
    // pyarrow. Moves `text` past it.
    static uint32_t decode(const unsigned char *&text, const unsigned char *end) {
        const unsigned char lead = *text;
        if (lead < 0x80) return *text++;
        const int more = lead >= 0xC2 && lead <= 0xDF ? 1 : (lead & 0xF0) == 0xE0 ? 2 : lead >= 0xF0 && lead <= 0xF4 ? 3 : 0;
        if (more == 0 || end - text <= more) {
            text = end;
            return FOREIGN;
        }
        uint32_t character = lead & (0x3F >> more);
        for (int i = 1; i <= more; i++) {
            if ((text[i] & 0xC0) != 0x80) return FOREIGN;
            character = character << 6 | (text[i] & 0x3F);
        }
        text += more + 1;
        return character;
    }

    static size_t encode(uint32_t character, char *to) {
        if (character < 0x80) {
            to[0] = (char)character;
            return 1;
        }
        if (character < 0x800) {
            to[0] = (char)(0xC0 | character >> 6);
            to[1] = (char)(0x80 | (character & 0x3F));
            return 2;
        }
        if (character < 0x10000) {
            to[0] = (char)(0xE0 | character >> 12);
            to[1] = (char)(0x80 | (character >> 6 & 0x3F));
            to[2] = (char)(0x80 | (character & 0x3F));
            return 3;
        }
        to[0] = (char)(0xF0 | character >> 18);
        to[1] = (char)(0x80 | (character >> 12 & 0x3F));
        to[2] = (char)(0x80 | (character >> 6 & 0x3F));
        to[3] = (char)(0x80 | (character & 0x3F));
        return 4;
    }

    Vocabulary vocabulary_;
    std::unique_ptr<Bag> bag_;
    std::vector<uint32_t> characters_;
    unsigned char ascii_[0x80];
    // Whether every character of ASCII becomes one of ASCII.
    bool all_usual_;
    bool markup_;
    int64_t most_characters_, most_tokens_;
    int32_t first_id_, unknown_id_;
    mutable std::atomic<Work *> spare_{nullptr};
};

} // namespace

void *categorizer_tokenizer(const char *words, const int64_t *offsets, int64_t count, const uint32_t *characters, int64_t known,
                            int markup, int64_t most_characters, int64_t most_tokens, int32_t first_id, int32_t unknown_id) {
    try {
        return new Tokenizer(words, offsets, count, characters, known, markup != 0, most_characters, most_tokens, first_id, unknown_id);
    } catch (const std::exception &) {
        return nullptr;
    }
}

int categorizer_set_bag(void *tokenizer, const float *idf, int64_t ids, float unknown_idf, const int32_t *pairs, int64_t pair_count,
                        const char *subwords, const int64_t *subword_offsets, int64_t subword_count, int64_t shortest,
                        int64_t longest, int64_t word_characters) {
    try {
        static_cast<Tokenizer *>(tokenizer)->set_bag(std::make_unique<Bag>(idf, ids, unknown_idf, pairs, pair_count, subwords,
                                                                            subword_offsets, subword_count, shortest, longest,
                                                                            word_characters));
        return 1;
    } catch (const std::exception &) {
        return 0;
    }
}

void categorizer_free_tokenizer(void *tokenizer) { delete static_cast<Tokenizer *>(tokenizer); }

int64_t categorizer_ids(const void *tokenizer, const char *texts, const int32_t *starts, int64_t rows, int32_t *ids, int64_t room,
                        int64_t *lengths, int64_t *bag_lengths, void **bag, int64_t *bag_size) {
    const Tokenizer &of = *static_cast<const Tokenizer *>(tokenizer);
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(texts);
    try {
        const Tokenizer::Borrowed work(of);
        std::unique_ptr<Features> features(new Features);
        int64_t count = 0;
        for (int64_t row = 0; row < rows; row++) {
            if (count + of.most_ids(starts[row + 1] - starts[row]) > room) return -1;
            lengths[row] = of.ids_of(bytes + starts[row], bytes + starts[row + 1], *work, ids + count, *features, bag_lengths[row]);
            count += std::max<int64_t>(lengths[row], 0);
        }
        if (of.has_bag()) {
            *bag_size = (int64_t)features->features.size();
            *bag = features.release();
        }
        return count;
    } catch (const std::exception &) {
        return -2;
    }
}

void categorizer_read_bag(void *bag, int32_t *features, float *weights) {
    const std::unique_ptr<Features> of(static_cast<Features *>(bag));
    std::copy(of->features.begin(), of->features.end(), features);
    std::copy(of->weights.begin(), of->weights.end(), weights);
}

int categorizer_score(const void *tokenizer, const void *network, const char *texts, const int32_t *starts, int64_t rows,
                      float *out, int64_t labels, float *evidence, int32_t *tokens, int32_t *unknown_tokens, double *seconds) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); };
    const Tokenizer &of = *static_cast<const Tokenizer *>(tokenizer);
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(texts);
    seconds[0] = seconds[1] = 0;
    try {
        const Tokenizer::Borrowed work(of);
        Features features;
        std::vector<int32_t> ids;
        std::vector<int64_t> offsets, bag_offsets;
        for (int64_t first = 0; first < rows; first += TEXTS_AT_A_TIME) {
            const auto began = Clock::now();
            const int64_t end = std::min(rows, first + TEXTS_AT_A_TIME);
            features.features.clear();
            features.weights.clear();
            offsets.assign(1, 0);
            bag_offsets.assign(1, 0);
            for (int64_t row = first; row < end; row++) {
                const int64_t before = offsets.back();
                const size_t room = (size_t)(before + of.most_ids(starts[row + 1] - starts[row]));
                if (ids.size() < room) ids.resize(2 * room);
                int64_t feature_count = 0;
                const int64_t count =
                    of.ids_of(bytes + starts[row], bytes + starts[row + 1], *work, ids.data() + before, features, feature_count);
                tokens[row] = (int32_t)count;
                offsets.push_back(before + std::max<int64_t>(count, 0));
                bag_offsets.push_back(bag_offsets.back() + feature_count);
                unknown_tokens[row] = (int32_t)std::count(ids.begin() + before, ids.begin() + offsets.back(), of.unknown_id());
            }
            seconds[0] += since(began);
            const auto tokenized = Clock::now();
            const int fault = categorizer_probabilities(network, ids.data(), offsets.data(), end - first, features.features.data(),
                                                        features.weights.data(), bag_offsets.data(), out + first * labels,
                                                        evidence + first);
            if (fault) return fault;
            seconds[1] += since(tokenized);
        }
        return 0;
    } catch (const std::exception &) {
        return 2;
    }
}
