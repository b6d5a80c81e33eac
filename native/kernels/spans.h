// Spans: runs of pages that attention sums up before it folds them into those before. They lie at
// fixed positions, so that sums are the same however a context is shared out: 8 pages each, and from
// page 64 on an eighth of the power of two that they lie beyond. Even long contexts have few.
#pragma once
#include <bit>
#include <cstdint>

namespace ingle {

constexpr int64_t kSpanPages = 8;  // of the shortest
constexpr int kMaxSpans = 72;      // of 2^14 pages, 2^20 positions

constexpr int64_t span_length(int64_t page) {  // in pages, of the span that holds it
    const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(page)));
    return power / 8 > kSpanPages ? power / 8 : kSpanPages;
}
constexpr int64_t span_last_page(int64_t page) { return (page / span_length(page) + 1) * span_length(page) - 1; }

constexpr int64_t span_index(int64_t page) {
    if (page < 8 * kSpanPages) return page / kSpanPages;
    const int64_t octaves = std::bit_width(static_cast<uint64_t>(page)) - 7;  // from page 64 on
    return 8 * (octaves + 1) + (page / span_length(page)) % 8;
}
constexpr int64_t span_first_page(int64_t index) {
    if (index < 8) return index * kSpanPages;
    const int64_t power = int64_t{64} << (index / 8 - 1);
    return power + index % 8 * (power / 8);
}

// Floats of a head's state: sums of head_dim values, of weights, the largest score; whole cache lines.
constexpr int64_t span_state(int head_dim) { return head_dim + 16; }

}  // namespace ingle
