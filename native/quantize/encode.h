// Rows of weights to rows of blocks, on several threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace ingle {

enum class Fault : int { None, Weight, Scale };  // a weight, or the scale of a block, not finite

// rows (num_rows, columns) -> out (num_rows, columns / block * block_bytes).
// importance: per column, or null.
using EncodeRows = Fault(const float* rows, size_t num_rows, size_t columns,
                         const float* importance, uint8_t* out);

struct Encoder {
    const char* name;
    size_t block, block_bytes;
    EncodeRows* ggml;    // GGML's bytes
    EncodeRows* search;  // ours: less weighted error in as many bits; null where there is no choice
};

const Encoder* find_encoder(std::string_view name);  // null when ingle cannot encode it

// Calls work(first, last) for parts of [0, count) on up to `threads` threads; the worst fault.
Fault in_parts(size_t count, int threads, const std::function<Fault(size_t, size_t)>& work);

}  // namespace ingle
