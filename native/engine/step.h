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
    virtual bool reads_weights() const { return false; }
    virtual bool chooses_weights() const { return false; }  // which are read next: unknown until it ran
    // The weights that a thread begins with, where they are known before the step runs.
    virtual Ahead first_read(const Frame&, int /*thread*/) const { return {}; }

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

    // The same for few rows, where weights are read once and never again: work(i, next) of one item,
    // `next` being what this thread takes after it; `total` when that is nothing of this step.
    template <class Work>
    void stream(const Frame& frame, int thread, int64_t total, int64_t grain, Work work) {
        const int64_t fixed = fixed_items(frame, total);
        const auto claim = [&] {
            return std::min(fixed + next_.fetch_add(grain, std::memory_order_relaxed), total);
        };
        int64_t at = fixed * thread / frame.num_threads;
        int64_t end = fixed * (thread + 1) / frame.num_threads;
        if (at == end) at = claim(), end = std::min(at + grain, total);
        while (at < end) {
            while (at + 1 < end) work(at, at + 1), ++at;
            const int64_t then = claim();  // before the run's last item, which asks for it
            work(at, then);
            at = then;
            end = std::min(then + grain, total);
        }
    }

    static int64_t fixed_items(const Frame& frame, int64_t total) {
        return frame.num_threads == 1 ? total : total * kFixedQuarters / 4;
    }
    static int64_t first_item(const Frame& frame, int thread, int64_t total) {
        return fixed_items(frame, total) * thread / frame.num_threads;
    }
    // What is read when this step is over.
    Ahead after(const Frame& frame, int thread) const {
        return next_reader ? next_reader->first_read(frame, thread) : Ahead{};
    }

    static constexpr int64_t kFixedQuarters = 3;
    const Step* next_reader = nullptr;  // of the tape's steps, the next that reads weights
    std::atomic<int64_t> next_{0};  // reset before each run of the tape
    bool on_outputs = false;        // runs over the rows that need logits

    int64_t rows(const Frame& frame) const {
        return on_outputs ? frame.batch.num_outputs : frame.batch.rows;
    }
};

using Slot = Tape::Slot;

constexpr int64_t kColumnBlock = 120;  // rows of activations that stay in L2 under a weight tile
constexpr int64_t kFewRows = 16;       // up to so many, reading the weights takes longer than using them

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
inline int tiles_of_pair(const Matrix& w, int64_t p) { return 2 * p + 1 < w.num_tiles() ? 2 : 1; }

inline Ahead ahead_of(const Matrix& w, int64_t matrix, int64_t p) {
    return {w.tile(2 * p, matrix), tiles_of_pair(w, p) * w.tile_stride};
}

// Products with 8-bit rows in two parts: y = W first + W second.
inline void multiply_parts(const Kernels& k, const Matrix& w, const uint8_t* tile, int tiles,
                           const Slot& in, int64_t c, int64_t n, float* out, int64_t out_stride,
                           Ahead ahead) {
    alignas(64) float both[kColumnBlock * kPairRows];
    constexpr int64_t kMost = kColumnBlock / 2;
    for (int64_t done = 0; done < n; done += kMost) {
        const int64_t count = std::min(kMost, n - done);
        k.q8_matmul[static_cast<int>(w.type)](tile, w.tile_stride, tiles, in.q, 2 * (c + done),
                                              2 * count, both, kPairRows,
                                              done + count < n ? Ahead{} : ahead);
        for (int64_t i = 0; i < count; ++i) {
            const float* from = both + 2 * i * kPairRows;
            float* to = out + (done + i) * out_stride;
            for (int64_t j = 0; j < tiles * kTileRows; ++j) to[j] = from[j] + from[j + kPairRows];
        }
    }
}

// Pair `p` of the weight (its last may be one tile) times activation rows [c, c + n) into
// out[n][32]; weights are multiplied as integers where both sides have that form.
// ahead: what this thread reads next.
inline void multiply(const Kernels& k, const Matrix& w, int64_t matrix, int64_t p, const Slot& in,
                     int64_t c, int64_t n, float* out, int64_t out_stride, Ahead ahead = {}) {
    const int type = static_cast<int>(w.type);
    const uint8_t* tile = w.tile(2 * p, matrix);
    const int tiles = tiles_of_pair(w, p);
    if (in.int8_parts == 2 && !w.is_float())
        multiply_parts(k, w, tile, tiles, in, c, n, out, out_stride, ahead);
    else if (in.int8_parts && !w.is_float())
        k.q8_matmul[type](tile, w.tile_stride, tiles, in.q, c, n, out, out_stride, ahead);
    else
        k.f32_matmul[type](tile, w.tile_stride, tiles, w.columns, row(in, c), in.stride, n, out,
                           out_stride, ahead);
    if (!w.row_scales) return;
    const float* scales = w.row_scales + (matrix * w.num_tiles() + 2 * p) * kTileRows;
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < tiles * kTileRows; ++j) out[i * out_stride + j] *= scales[j];
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
