// Byte-pair encoding by rank: the adjacent pair whose concatenation is the token of lowest id is
// merged first, leftmost among equals. Knows nothing of how text is cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <queue>
#include <stdexcept>
#include <vector>

namespace ingle::tokenizer {

class RankBpe {
public:
    static constexpr uint32_t kNone = UINT32_MAX;

    // Token i is the next lengths[i] >= 1 bytes of `blob`. Every single byte must be a token.
    // Throws std::invalid_argument when they are inconsistent.
    RankBpe(const uint8_t* lengths, size_t num_tokens, const uint8_t* blob, size_t blob_bytes)
        : blob_(blob, blob + blob_bytes) {
        if (num_tokens >= 1u << 24 || blob_bytes > UINT32_MAX)
            throw std::invalid_argument("the vocabulary is too large");
        starts_.reserve(num_tokens + 1);
        starts_.push_back(0);
        size_t end = 0;
        for (size_t i = 0; i < num_tokens; ++i) {
            end += lengths[i];
            if (lengths[i] == 0 || end > blob_bytes)
                throw std::invalid_argument("token lengths do not match the bytes");
            starts_.push_back(uint32_t(end));
            if (lengths[i] > longest_) longest_ = lengths[i];
        }
        size_t slots = 2;
        while (slots < 2 * num_tokens) slots *= 2;
        slots_.assign(slots, kNone);
        for (uint32_t id = 0; id < num_tokens; ++id) insert(id);
        for (int byte = 0; byte < 256; ++byte) {
            const uint8_t b = uint8_t(byte);
            if (find(&b, 1) == kNone) throw std::invalid_argument("a byte is no token");
        }
    }

    size_t size() const { return starts_.size() - 1; }
    const uint8_t* token(uint32_t id) const { return blob_.data() + starts_[id]; }
    size_t token_bytes(uint32_t id) const { return starts_[id + 1] - starts_[id]; }

    // The part that starts at byte i of a piece; meaningful for the starts of parts only.
    struct Part {
        uint32_t end;
        uint32_t previous;
    };
    // Parts [start, middle) and [middle, end) may become token `rank`.
    struct Merge {
        uint32_t rank, start, middle, end;
        bool operator>(const Merge& other) const {
            return rank != other.rank ? rank > other.rank : start > other.start;
        }
    };
    // Memory that one thread uses again for every piece.
    struct Scratch {
        std::vector<Part> parts;
        std::priority_queue<Merge, std::vector<Merge>, std::greater<Merge>> queue;
    };

    // Appends the ids of one piece of n >= 1 bytes.
    void encode_piece(const uint8_t* piece, size_t n, Scratch& scratch,
                      std::vector<uint32_t>& ids) const {
        if (n >= UINT32_MAX) throw std::invalid_argument("the text is too long");
        const uint32_t whole = find(piece, n);
        if (whole != kNone) {
            ids.push_back(whole);
            return;
        }
        merge(piece, uint32_t(n), scratch);
        const std::vector<Part>& parts = scratch.parts;
        for (uint32_t i = 0; i < n; i = parts[i].end)
            ids.push_back(find(piece + i, parts[i].end - i));
    }

private:
    static uint64_t hash(const uint8_t* bytes, size_t n) {
        uint64_t h = 0xcbf29ce484222325u ^ n;
        for (; n >= 8; bytes += 8, n -= 8) h = mix(h ^ load(bytes, 8));
        return mix(h ^ load(bytes, n));
    }
    static uint64_t load(const uint8_t* bytes, size_t n) {
        uint64_t word = 0;
        std::memcpy(&word, bytes, n);
        return word;
    }
    static uint64_t mix(uint64_t h) {
        h *= 0x9E3779B97F4A7C15u;
        return h ^ (h >> 29);
    }

    void insert(uint32_t id) {
        const size_t mask = slots_.size() - 1;
        size_t slot = hash(token(id), token_bytes(id)) & mask;
        for (; slots_[slot] != kNone; slot = (slot + 1) & mask)
            if (equals(slots_[slot], token(id), token_bytes(id)))
                throw std::invalid_argument("a token occurs twice");
        slots_[slot] = id;
    }

    uint32_t find(const uint8_t* bytes, size_t n) const {
        if (n > longest_) return kNone;
        const size_t mask = slots_.size() - 1;
        for (size_t slot = hash(bytes, n) & mask;; slot = (slot + 1) & mask) {
            const uint32_t id = slots_[slot];
            if (id == kNone || equals(id, bytes, n)) return id;
        }
    }

    bool equals(uint32_t id, const uint8_t* bytes, size_t n) const {
        return token_bytes(id) == n && std::memcmp(token(id), bytes, n) == 0;
    }

    // Leaves the piece's parts in scratch. n log n: a piece may be megabytes of one letter.
    void merge(const uint8_t* piece, uint32_t n, Scratch& scratch) const {
        auto& [parts, queue] = scratch;
        parts.resize(n);
        for (uint32_t i = 0; i < n; ++i) parts[i] = {i + 1, i - 1};
        for (uint32_t i = 0; i + 1 < n; ++i) propose(piece, i, n, scratch);
        while (!queue.empty()) {
            const Merge m = queue.top();
            queue.pop();
            // A part keeps its start while it grows, and an absorbed one ends nowhere.
            if (parts[m.start].end != m.middle || parts[m.middle].end != m.end) continue;
            parts[m.start].end = m.end;
            parts[m.middle].end = 0;
            if (m.end < n) parts[m.end].previous = m.start;
            propose(piece, m.start, n, scratch);
            if (m.start > 0) propose(piece, parts[m.start].previous, n, scratch);
        }
    }

    void propose(const uint8_t* piece, uint32_t start, uint32_t n, Scratch& scratch) const {
        const uint32_t middle = scratch.parts[start].end;
        if (middle >= n) return;
        const uint32_t end = scratch.parts[middle].end;
        const uint32_t rank = find(piece + start, end - start);
        if (rank != kNone) scratch.queue.push({rank, start, middle, end});
    }

    std::vector<uint8_t> blob_;
    std::vector<uint32_t> starts_;
    std::vector<uint32_t> slots_;  // open addressing, a power of two, at most half full
    size_t longest_ = 0;
};

}  // namespace ingle::tokenizer
