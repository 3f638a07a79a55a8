// Texts to token ids in one pass over their bytes: what lib/text.py does with pyarrow, for texts whose characters can be
// looked at one by one. A table says what becomes of each character; a text with another one is left to pyarrow.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace {

// In the table of characters.
constexpr uint32_t SEPARATOR = 0;
constexpr uint32_t FOREIGN = 0xFFFFFFFF;

constexpr int32_t NOT_FOUND = -1;

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
    int64_t ids_of(const unsigned char *text, const unsigned char *end, char *word, int32_t *ids) const {
        end = cut(text, end);
        const size_t longest = vocabulary_.longest();
        int64_t count = 0;
        while (count < most_tokens_) {
            size_t length = 0;
            while (text < end) {
                if (const unsigned char plain = *text < 0x80 ? ascii_[*text] : UNUSUAL; plain != UNUSUAL) {
                    text++;
                    if (plain != SEPARATOR) {
                        // A word too long to be known may be of any length: its tail is not kept.
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
            const int32_t found = length <= longest ? vocabulary_.find(word, length) : NOT_FOUND;
            ids[count++] = found == NOT_FOUND ? unknown_id_ : first_id_ + found;
        }
        return count;
    }

    int64_t most_tokens() const { return most_tokens_; }
    // Room for a word one character longer than the longest, and for the zeros behind it.
    size_t word_room() const { return vocabulary_.longest() + 4 + CHUNK; }

  private:
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

void categorizer_free_tokenizer(void *tokenizer) { delete static_cast<Tokenizer *>(tokenizer); }

// Text i is texts[starts[i]] to texts[starts[i + 1] - 1], in UTF-8. Its ids follow those of text i - 1 in `ids`, which
// holds `room` of them; their number goes to lengths[i], -1 for a foreign text, which leaves none.
// Gives the number of ids, -1 if `ids` has too little room for them, -2 if memory does not suffice.
int64_t categorizer_ids(const void *tokenizer, const char *texts, const int32_t *starts, int64_t rows, int32_t *ids, int64_t room,
                        int64_t *lengths) {
    const Tokenizer &of = *static_cast<const Tokenizer *>(tokenizer);
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(texts);
    try {
        std::vector<char> word(of.word_room());
        int64_t count = 0;
        for (int64_t row = 0; row < rows; row++) {
            // Words and what parts them take turns.
            const int64_t most = std::min<int64_t>(of.most_tokens(), (starts[row + 1] - starts[row] + 1) / 2);
            if (count + most > room) return -1;
            lengths[row] = of.ids_of(bytes + starts[row], bytes + starts[row + 1], word.data(), ids + count);
            count += std::max<int64_t>(lengths[row], 0);
        }
        return count;
    } catch (const std::bad_alloc &) {
        return -2;
    }
}
}
#pragma GCC visibility pop
