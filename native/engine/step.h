// One step of a tape, and how its work is shared among threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

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

}  // namespace ingle
