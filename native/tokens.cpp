// Texts to token ids, and to the features of lib/bag.py, in one pass over their bytes: what lib/text.py does with pyarrow,
// for texts whose characters can be looked at one by one. A table says what becomes of each character; a text with another
// one is left to pyarrow.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace {

// In the table of characters.
constexpr uint32_t SEPARATOR = 0;
constexpr uint32_t FOREIGN = 0xFFFFFFFF;

constexpr int32_t NOT_FOUND = -1;
// In a pair: what stands before a text's first word and behind its last.
constexpr int32_t EDGE = 0;

// Words are hashed in chunks of eight bytes; what lies behind a word's end in its last chunk has to be zero.
constexpr size_t CHUNK = 8;

uint64_t chunk_of(const char *word) {
    uint64_t chunk;
    std::memcpy(&chunk, word, CHUNK);
    return chunk;
}

uint64_t hash_of(const char *word, size_t length) {
    uint64_t hash = length;
    for (size_t at = 0; at < length; at += CHUNK) {
        hash = (hash ^ chunk_of(word + at)) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash;
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
        std::vector<char> word;
        for (int64_t i = 0; i < count; i++) {
            const size_t length = starts_[i + 1] - starts_[i];
            longest_ = std::max(longest_, length);
            word.assign(length + CHUNK, 0);
            std::copy_n(words + starts_[i], length, word.begin());
            size_t at = hash_of(word.data(), length) & (slots - 1);
            while (slots_[at].word != NOT_FOUND) at = (at + 1) & (slots - 1);
            slots_[at] = {chunk_of(word.data()), (uint32_t)length, (int32_t)i};
        }
    }

    size_t longest() const { return longest_; }

    // The word's number; `word` is filled up with zeros to a whole chunk.
    int32_t find(const char *word, size_t length) const {
        const size_t mask = slots_.size() - 1;
        const uint64_t chunk = chunk_of(word);
        for (size_t at = hash_of(word, length) & mask; slots_[at].word != NOT_FOUND; at = (at + 1) & mask) {
            const Slot &slot = slots_[at];
            if (slot.chunk == chunk && slot.length == length &&
                (length <= CHUNK || std::memcmp(words_.data() + starts_[slot.word], word, length) == 0))
                return slot.word;
        }
        return NOT_FOUND;
    }

  private:
    // The first chunk stands here: most words are no longer, and are found by one look into memory.
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

// Which features a text has, and their weights; see lib/bag.py.
class Bag {
  public:
    // Features: the ids of words, of which there are `ids`; then the pairs; then the subwords.
    Bag(const float *idf, int64_t ids, float unknown_idf, const int32_t *pairs, int64_t pair_count, const char *subwords,
        const int64_t *subword_offsets, int64_t subword_count, int64_t shortest, int64_t longest, int64_t word_characters)
        : unknown_square_(unknown_idf * unknown_idf), unknown_idf_(unknown_idf), first_subword_(ids + pair_count),
          subwords_(subwords, subword_offsets, subword_count), shortest_(shortest), longest_(longest),
          word_characters_(word_characters) {
        for (int64_t i = 0; i < ids; i++) words_.push_back({NO_PLACE, idf[i] * idf[i]});
        size_t slots = 16;
        while (2 * slots < 3 * (size_t)pair_count) slots *= 2;
        pairs_.assign(slots, Pair{NO_PAIR, 0, NO_PLACE});
        size_t bits = 64;
        while (bits < 16 * (size_t)pair_count) bits *= 2;
        perhaps_.assign(bits / 64, 0);
        for (int64_t i = 0; i < pair_count; i++) {
            const uint64_t key = key_of(pairs[2 * i], pairs[2 * i + 1]), hash = hash_of_key(key);
            size_t at = hash & (slots - 1);
            while (pairs_[at].key != NO_PAIR) at = (at + 1) & (slots - 1);
            pairs_[at] = {key, (int32_t)(ids + i), NO_PLACE};
            const size_t bit = (hash >> 32) & (bits - 1);
            perhaps_[bit / 64] |= 1ull << bit % 64;
        }
    }

    int64_t word_characters() const { return word_characters_; }

  private:
    // place: where it was last put among the features of all texts.
    struct Word {
        int32_t place;
        float square;
    };
    struct Pair {
        uint64_t key;
        int32_t feature;
        int32_t place;
    };
    // The features of an unknown word, which occurs `count` times.
    struct Parts {
        uint64_t word;
        size_t first, end;
        int32_t count;
    };

  public:
    // What one thread needs while it goes through texts.
    struct Work {
        explicit Work(const Bag &bag) : words(bag.words_), pairs(bag.pairs_) {}
        std::vector<Word> words;
        std::vector<Pair> pairs;
        std::vector<Parts> parts;
        std::vector<size_t> ends;
        std::vector<char> marked;
        std::vector<int32_t> features;
        // Of each feature: how often the text has it.
        std::vector<int32_t> counts;
        std::vector<float> weights;
        // A pair whose slot is on its way from memory.
        uint64_t pending = NO_PAIR, hash = 0;
        size_t first = 0;
    };

    void begin(Work &work) const {
        work.parts.clear();
        work.first = work.features.size();
        work.pending = NO_PAIR;
    }

    void add_known(Work &work, int32_t id) const { count(work, work.words[id].place, id); }

    // Of neighbours; a text's first and last word have EDGE beside them.
    void add_pair(Work &work, int32_t before, int32_t id, int32_t unknown_id) const {
        if (before == unknown_id || id == unknown_id) return;
        const uint64_t key = key_of(before, id), hash = hash_of_key(key);
        // Most pairs are none, and this says so of nearly all of them from a table that stays in the cache.
        const size_t bit = (hash >> 32) & (64 * perhaps_.size() - 1);
        if (!(perhaps_[bit / 64] >> bit % 64 & 1)) return;
        __builtin_prefetch(&work.pairs[hash & (work.pairs.size() - 1)]);
        add_pending(work);
        work.pending = key;
        work.hash = hash;
    }

    // `word`: all of it, or more than word_characters of its characters.
    void add_unknown(Work &work, const char *word, size_t length) const {
        mark(work, word, length);
        const uint64_t hash = hash_of_marked(work);
        for (Parts &parts : work.parts)
            if (parts.word == hash) {
                parts.count++;
                return;
            }
        const size_t characters = work.ends.size() - 1, first = work.features.size();
        char padded[MOST_SUBWORD_BYTES + CHUNK];
        for (int64_t n = shortest_; n <= longest_; n++)
            for (size_t i = 0; i + n <= characters; i++) {
                const size_t from = work.ends[i], bytes = work.ends[i + n] - from;
                if (bytes > subwords_.longest() || bytes > MOST_SUBWORD_BYTES) continue;
                std::memcpy(padded, work.marked.data() + from, bytes);
                std::memset(padded + bytes, 0, CHUNK);
                const int32_t found = subwords_.find(padded, bytes);
                if (found != NOT_FOUND) work.features.push_back((int32_t)(first_subword_ + found));
            }
        work.counts.resize(work.features.size(), 1);
        work.parts.push_back({hash, first, work.features.size(), 1});
    }

    // Gives the number of the text's features.
    int64_t end(Work &work) const {
        add_pending(work);
        double squares = 0;
        for (size_t at = work.first; at < work.features.size(); at++) {
            const double often = weight_of(work.counts[at]);
            if (work.features[at] < (int32_t)words_.size()) squares += words_[work.features[at]].square * often * often;
        }
        for (const Parts &parts : work.parts) squares += unknown_square_ * weight_of(parts.count) * weight_of(parts.count);
        const double norm = std::sqrt(std::max(squares, 1e-12));
        for (size_t at = work.first; at < work.features.size(); at++)
            work.weights.push_back((float)(weight_of(work.counts[at]) / norm));
        for (const Parts &parts : work.parts) {
            const double known = (double)std::max<size_t>(parts.end - parts.first, 1);
            const double weight = unknown_idf_ * weight_of(parts.count) / std::sqrt(known) / norm;
            std::fill(work.weights.begin() + parts.first, work.weights.begin() + parts.end, (float)weight);
        }
        return (int64_t)(work.features.size() - work.first);
    }

  private:
    static constexpr uint64_t NO_PAIR = ~0ull;
    static constexpr int32_t NO_PLACE = -1;
    static constexpr size_t MOST_SUBWORD_BYTES = 64;

    // Of a feature that a text has so often.
    static double weight_of(int32_t count) { return count == 1 ? 1.0 : 1.0 + std::log((double)count); }

    static void count(Work &work, int32_t &place, int32_t feature) {
        // A foreign text leaves places behind it that the next text's features take.
        const bool seen = place >= (int32_t)work.first && place < (int32_t)work.features.size() && work.features[place] == feature;
        if (seen) {
            work.counts[place]++;
            return;
        }
        place = (int32_t)work.features.size();
        work.features.push_back(feature);
        work.counts.push_back(1);
    }

    void add_pending(Work &work) const {
        if (work.pending == NO_PAIR) return;
        const size_t mask = work.pairs.size() - 1;
        for (size_t at = work.hash & mask; work.pairs[at].key != NO_PAIR; at = (at + 1) & mask) {
            Pair &pair = work.pairs[at];
            if (pair.key != work.pending) continue;
            count(work, pair.place, pair.feature);
            break;
        }
        work.pending = NO_PAIR;
    }

    static uint64_t key_of(int32_t first, int32_t second) { return (uint64_t)(uint32_t)first << 32 | (uint32_t)second; }

    static uint64_t hash_of_key(uint64_t key) {
        key *= 0x9E3779B97F4A7C15u;
        key ^= key >> 29;
        key *= 0xBF58476D1CE4E5B9u;
        return key ^ key >> 32;
    }

    // FNV-1a.
    static uint64_t hash_of_marked(const Work &work) {
        uint64_t hash = 0xCBF29CE484222325u;
        for (const char byte : work.marked) hash = (hash ^ (unsigned char)byte) * 0x100000001B3u;
        return hash;
    }

    // The word between the marks of its ends, and where each of its characters begins and the last ends.
    void mark(Work &work, const char *word, size_t length) const {
        work.marked.assign(1, '<');
        work.ends.assign(1, 0);
        work.ends.push_back(1);
        int64_t characters = 0;
        size_t at = 0;
        while (at < length && characters < word_characters_) {
            do work.marked.push_back(word[at++]);
            while (at < length && ((unsigned char)word[at] & 0xC0) == 0x80);
            work.ends.push_back(work.marked.size());
            characters++;
        }
        if (at < length) return;
        work.marked.push_back('>');
        work.ends.push_back(work.marked.size());
    }

    std::vector<Word> words_;
    float unknown_square_, unknown_idf_;
    int64_t first_subword_;
    std::vector<Pair> pairs_;
    // A bit for each of some hashes: no pair has a hash whose bit is 0.
    std::vector<uint64_t> perhaps_;
    Vocabulary subwords_;
    int64_t shortest_, longest_, word_characters_;
};

class Tokenizer {
  public:
    Tokenizer(const char *words, const int64_t *offsets, int64_t count, const uint32_t *characters, int64_t known,
              int64_t most_characters, int64_t most_tokens, int32_t first_id, int32_t unknown_id)
        : vocabulary_(words, offsets, count), characters_(characters, characters + known), most_characters_(most_characters),
          most_tokens_(most_tokens), first_id_(first_id), unknown_id_(unknown_id) {
        for (size_t i = 0; i < 0x80; i++)
            ascii_[i] = i < characters_.size() && characters_[i] < 0x80 ? (unsigned char)characters_[i] : UNUSUAL;
    }

    // Writes at most most_tokens ids from `ids` on and gives their number, or -1 if a foreign character stands before the
    // end of the last of them. What follows it cannot change them.
    // With a bag, what it is to know of the text is in `work` afterwards; of a foreign text that means nothing.
    int64_t ids_of(const unsigned char *text, const unsigned char *end, char *word, int32_t *ids, Bag::Work *work) const {
        end = cut(text, end);
        const size_t longest = longest_kept();
        int64_t count = 0;
        while (count < most_tokens_) {
            size_t length = 0;
            while (text < end) {
                if (const unsigned char plain = *text < 0x80 ? ascii_[*text] : UNUSUAL; plain != UNUSUAL) {
                    text++;
                    if (plain != SEPARATOR) {
                        // A word too long to be known, or taken apart whole, may be of any length: its tail is not kept.
                        word[length] = (char)plain;
                        length += length <= longest;
                        continue;
                    }
                } else {
                    uint32_t character = decode(text, end);
                    character = character < characters_.size() ? characters_[character] : FOREIGN;
                    if (character == FOREIGN) return -1;
                    if (character != SEPARATOR) {
                        if (length <= longest) length += encode(character, word + length);
                        continue;
                    }
                }
                if (length > 0) break;
            }
            if (length == 0) break;
            std::memset(word + length, 0, CHUNK);
            const int32_t found = length <= vocabulary_.longest() ? vocabulary_.find(word, length) : NOT_FOUND;
            ids[count] = found == NOT_FOUND ? unknown_id_ : first_id_ + found;
            if (work && found != NOT_FOUND) bag_->add_known(*work, ids[count]);
            if (work && found == NOT_FOUND) bag_->add_unknown(*work, word, length);
            if (work) bag_->add_pair(*work, count ? ids[count - 1] : EDGE, ids[count], unknown_id_);
            count++;
        }
        if (work && count) bag_->add_pair(*work, ids[count - 1], EDGE, unknown_id_);
        return count;
    }

    int64_t most_tokens() const { return most_tokens_; }
    // Room for a word one character longer than what is kept, and for the zeros behind it.
    size_t word_room() const { return longest_kept() + 4 + CHUNK; }

    const Bag *bag() const { return bag_.get(); }
    void set_bag(std::unique_ptr<Bag> bag) { bag_ = std::move(bag); }

  private:
    // Bytes of a word that are looked at: a character is of four at most.
    size_t longest_kept() const {
        return bag_ ? std::max<size_t>(vocabulary_.longest(), 4 * bag_->word_characters()) : vocabulary_.longest();
    }

    // In `ascii_`: to be looked up in `characters_`.
    static constexpr unsigned char UNUSUAL = 0xFF;

    // The end of the first most_characters of a text.
    const unsigned char *cut(const unsigned char *text, const unsigned char *end) const {
        if (end - text <= most_characters_) return end;
        for (int64_t left = most_characters_; text < end; text++)
            if ((*text & 0xC0) != 0x80 && left-- == 0) break;
        return text;
    }

    // A character of several bytes, checked; FOREIGN if it is not UTF-8. Moves `text` behind it.
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
    int64_t most_characters_, most_tokens_;
    int32_t first_id_, unknown_id_;
};

} // namespace

#pragma GCC visibility push(default)
extern "C" {

// characters: what becomes of each character below `known`: the one to take for it, 0 for one that parts words,
// 0xFFFFFFFF for one that makes its text foreign. Null if memory does not suffice.
void *categorizer_tokenizer(const char *words, const int64_t *offsets, int64_t count, const uint32_t *characters, int64_t known,
                            int64_t most_characters, int64_t most_tokens, int32_t first_id, int32_t unknown_id) {
    try {
        return new Tokenizer(words, offsets, count, characters, known, most_characters, most_tokens, first_id, unknown_id);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

// Gives the tokenizer a bag of features. idf: of each id; pairs: ids, two by two. False if memory does not suffice.
int categorizer_set_bag(void *tokenizer, const float *idf, int64_t ids, float unknown_idf, const int32_t *pairs, int64_t pair_count,
                        const char *subwords, const int64_t *subword_offsets, int64_t subword_count, int64_t shortest,
                        int64_t longest, int64_t word_characters) {
    try {
        static_cast<Tokenizer *>(tokenizer)->set_bag(std::make_unique<Bag>(idf, ids, unknown_idf, pairs, pair_count, subwords,
                                                                            subword_offsets, subword_count, shortest, longest,
                                                                            word_characters));
        return 1;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

void categorizer_free_tokenizer(void *tokenizer) { delete static_cast<Tokenizer *>(tokenizer); }

// Text i is texts[starts[i]] to texts[starts[i + 1] - 1], in UTF-8. Its ids follow those of text i - 1 in `ids`, which
// holds `room` of them; their number goes to lengths[i], -1 for a foreign text, which leaves none. With a bag, the number of
// its features goes to bag_lengths[i], and *bag is to be read and freed by categorizer_read_bag.
// Gives the number of ids, -1 if `ids` has too little room for them, -2 if memory does not suffice.
int64_t categorizer_ids(const void *tokenizer, const char *texts, const int32_t *starts, int64_t rows, int32_t *ids, int64_t room,
                        int64_t *lengths, int64_t *bag_lengths, void **bag, int64_t *bag_size) {
    const Tokenizer &of = *static_cast<const Tokenizer *>(tokenizer);
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(texts);
    try {
        std::vector<char> word(of.word_room());
        std::unique_ptr<Bag::Work> work(of.bag() ? new Bag::Work(*of.bag()) : nullptr);
        int64_t count = 0;
        for (int64_t row = 0; row < rows; row++) {
            // Words and what parts them take turns.
            const int64_t most = std::min<int64_t>(of.most_tokens(), (starts[row + 1] - starts[row] + 1) / 2);
            if (count + most > room) return -1;
            if (work) of.bag()->begin(*work);
            lengths[row] = of.ids_of(bytes + starts[row], bytes + starts[row + 1], word.data(), ids + count, work.get());
            count += std::max<int64_t>(lengths[row], 0);
            if (!work) continue;
            bag_lengths[row] = of.bag()->end(*work);
            if (lengths[row] >= 0) continue;
            work->features.resize(work->first);
            work->counts.resize(work->first);
            work->weights.resize(work->first);
            bag_lengths[row] = 0;
        }
        if (work) {
            *bag_size = (int64_t)work->features.size();
            *bag = work.release();
        }
        return count;
    } catch (const std::bad_alloc &) {
        return -2;
    }
}

// Moves what categorizer_ids left of its bag to arrays of that size.
void categorizer_read_bag(void *bag, int32_t *features, float *weights) {
    std::unique_ptr<Bag::Work> work(static_cast<Bag::Work *>(bag));
    std::copy(work->features.begin(), work->features.end(), features);
    std::copy(work->weights.begin(), work->weights.end(), weights);
}
}
#pragma GCC visibility pop
