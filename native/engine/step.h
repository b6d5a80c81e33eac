// One step of a tape, and how its work is shared among threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "engine/tape.h"

namespace ingle {

struct Frame {
    const BatchView& batch;
    const Kernels& kernels;
    int num_threads;
};

struct Step {
    virtual ~Step() = default;
    virtual void run(const Frame& frame, int thread) = 0;
    virtual const char* name() const = 0;

    // Work items [0, total): `static_quarters` quarters are split evenly and contiguously, which
    // keeps each thread's reads sequential; the rest goes `grain` by `grain` to whoever is free.
    // Items are independent, so the result does not depend on who computes them.
    template <class Work>
    void share(const Frame& frame, int thread, int64_t total, int64_t grain, int static_quarters,
               Work work) {
        const int64_t fixed = frame.num_threads == 1 ? total : total * static_quarters / 4;
        const int64_t begin = fixed * thread / frame.num_threads;
        const int64_t end = fixed * (thread + 1) / frame.num_threads;
        if (begin < end) work(begin, end);
        for (;;) {
            const int64_t at = fixed + next_.fetch_add(grain, std::memory_order_relaxed);
            if (at >= total) return;
            work(at, std::min(at + grain, total));
        }
    }

    std::atomic<int64_t> next_{0};  // reset before each run of the tape
    bool on_outputs = false;        // runs over the rows that need logits

    int64_t rows(const Frame& frame) const {
        return on_outputs ? frame.batch.num_outputs : frame.batch.rows;
    }
};

using Slot = Tape::Slot;

constexpr int64_t kColumnBlock = 120;  // rows of activations that stay in L2 under a weight tile

inline float* row(const Slot& s, int64_t r) { return s.f + r * s.stride; }

inline void quantize(const Kernels& k, const float* x, const Slot& out, int64_t r, int64_t first_column,
              int64_t n) {
    const int64_t at = r * (out.q.columns / kBlock) + first_column / kBlock;
    k.quantize_row(x, n, out.q.q + r * out.q.columns + first_column, out.q.d + at, out.q.ds + at,
                   out.q.sum + at);
}

// A pair is two tiles, 32 rows of a weight: the unit in which matrix products are shared out.
constexpr int64_t kPairRows = 2 * kTileRows;

inline int64_t num_pairs(const Matrix& w) { return (w.num_tiles() + 1) / 2; }

// Pair `p` of the weight (its last may be one tile) times activation rows [c, c + n) into
// out[n][32]; weights are multiplied as integers where both sides have that form.
inline void multiply(const Kernels& k, const Matrix& w, int64_t matrix, int64_t p, const Slot& in,
                     int64_t c, int64_t n, float* out, int64_t out_stride) {
    const int type = static_cast<int>(w.type);
    const uint8_t* tile = w.tile(2 * p, matrix);
    const int tiles = 2 * p + 1 < w.num_tiles() ? 2 : 1;
    if (in.int8_parts && !w.is_float())
        k.q8_matmul[type](tile, w.tile_stride, tiles, in.q, c, n, out, out_stride);
    else
        k.f32_matmul[type](tile, w.tile_stride, tiles, w.columns, row(in, c), in.stride, n, out,
                           out_stride);
}

// y[i][0 .. width) += bias[0 .. width); nothing when bias is null
inline void add_bias(float* y, int64_t n, int64_t stride, const float* bias, int64_t width) {
    if (!bias) return;
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < width; ++j) y[i * stride + j] += bias[j];
}

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

}  // namespace ingle
