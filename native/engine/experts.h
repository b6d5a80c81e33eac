// Which tokens go to which experts of one mixture, while its steps run.
#pragma once
#include <cstdint>
#include <vector>

namespace ingle {

// Who goes where. A (token, rank) pair has an entry in the order of experts, then of tokens.
struct MoeBuffers {
    MoeBuffers(int experts, int64_t max_pairs) : num_experts(experts), capacity(max_pairs) {
        ids.resize(max_pairs);
        weights.resize(max_pairs);
        entry.resize(max_pairs);
        token.resize(max_pairs);
        start.resize(experts + 1);
        active.reserve(experts);
    }
    int num_experts;
    int64_t capacity;
    std::vector<int32_t> ids;    // (tokens, ranks): expert
    std::vector<float> weights;  // (tokens, ranks)
    std::vector<int32_t> entry;  // (tokens, ranks): position in the grouped rows
    std::vector<int32_t> token;  // (entries,)
    std::vector<int32_t> start;  // (experts + 1,): first entry of each expert
    std::vector<int32_t> active;  // experts with at least one entry
};

}  // namespace ingle
